"""Limit the size of a call and the pixels held in memory, whichever engine runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foveate.runtime.errors import ImageError
from foveate.runtime.spec import CascadeSpec

MAX_ELEMENTS = 2**31
"""No tensor of a call may have more elements than this; engines index with 32 bits."""
PIXELS = 1 << 26
"""67 million pixels at a time: sixteen images of 2048 x 2048, or one of any size by itself."""
LARGE = 1 << 26
"""Bytes of a call's images, 8192 x 8192 pixels of 8 bits, from which ONNX Runtime has no arena."""


def largest_channels(spec: CascadeSpec, width: int) -> int:
    """Return the channels of the widest tensor in the graph that is as large as the image.

    ``width`` is ``Bundle.width``. Two for the bytes of a 16-bit image. Where stage 2 sees every
    tile of the image, what it sees is as large as the image, and larger where tiles overlap.
    """
    read = max(spec.output_channels, 2 * spec.input_channels)
    if spec.region.mode == "tiles" and not spec.region.tiles:
        return max(read, math.ceil(2 * width / (1 - spec.region.overlap) ** 2))
    return max(read, 2 * width if spec.pad_multiple else 1)


def tile_elements(spec: CascadeSpec, width: int) -> int:
    """Return the elements of stage 2's widest tensor for one image where its tiles are counted."""
    if spec.region.mode != "tiles" or spec.stage2 is None:
        return 0
    return spec.region.tiles * 2 * width * spec.stage2.height * spec.stage2.width


def check_elements(spec: CascadeSpec, width: int, count: int, shape: tuple[int, ...]) -> None:
    """Raise ImageError where a tensor of a call of images of a shape would be too large."""
    largest = count * math.prod(shape) * largest_channels(spec, width)
    largest = max(largest, count * tile_elements(spec, width))
    if largest > MAX_ELEMENTS:
        size = "x".join(str(side) for side in shape[::-1])
        raise ImageError(
            f"a batch of {count} images of {size} needs "
            f"tensors of {largest} elements; the limit is {MAX_ELEMENTS}"
        )


class PixelBudget:
    """Bound what several threads hold in memory at a time; a larger item goes alone.

    First come, first served, so that small items never starve a large one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._used = 0
        self._asked = self._served = 0

    @contextmanager
    def room(self, amount: int) -> Iterator[None]:
        """Hold ``amount`` of the budget; block until it is free."""
        held = min(amount, self._most)
        with self._changed:
            turn, self._asked = self._asked, self._asked + 1
            self._changed.wait_for(lambda: turn == self._served and self._used + held <= self._most)
            self._served += 1
            self._used += held
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= held
                self._changed.notify_all()
