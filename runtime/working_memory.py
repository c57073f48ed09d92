"""What working memory a call takes, by what was measured (docs/results.md, working memory)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveate.runtime.errors import SettingsError
from foveate.runtime.spec import CascadeSpec

MEASURED = ("unet", "threshold")
"""Networks whose layers were measured; encoders have other ones of the same width."""


@dataclass(frozen=True)
class Appetite:
    """Bytes that an engine takes, and keeps, at most: what was measured, rounded up.

    ``binary`` and ``several``: a pixel of an 8-bit image of two classes, and of more. ``plane``:
    the same pixel for each of those. ``wide``: more for a pixel of 16 bits. ``element``: a number
    of a network's widest layer. ``large``: images of as many bytes lie beside what the others
    keep; 0 where there is no such difference.
    """

    binary: float
    several: float
    plane: float
    wide: float
    element: float
    large: int = 0

    def a_pixel(self, spec: CascadeSpec) -> float:
        """Return the bytes of a pixel of a bundle's images."""
        several = self.several + self.plane * spec.channels
        wide = self.wide if spec.input_type == "uint16" else 0
        return (self.binary if spec.binary else several) + wide


APPETITES = {
    "onnxruntime": Appetite(30, 30, 0, 0, 64, large=1 << 26),
    "openvino": Appetite(32, 46, 11, 18, 160),
}
"""Engine on a CPU -> its appetite. Nobody has measured the others."""


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes of a call: so many ``a_pixel`` and, whatever its size, so many ``an_image``.

    Images of ``large`` pixels and more take their memory beside that of the others.
    """

    a_pixel: float
    an_image: float
    large: int

    def nbytes(self, count: int, pixels: int) -> int:
        """Return the bytes of a call of ``count`` images of so many pixels each."""
        return round(count * (self.a_pixel * pixels + self.an_image))

    def most_pixels(self, nbytes: int) -> int:
        """Return the pixels of the largest image that so many bytes are enough for."""
        return max(0, int((nbytes - self.an_image) / self.a_pixel))


def working_memory(engine: str, spec: CascadeSpec, network: Mapping[str, Any]) -> WorkingMemory:
    """Return what a call of a bundle takes; SettingsError where nobody has measured it."""
    appetite = APPETITES.get(engine)
    if appetite is None or network["name"] not in MEASURED or spec.pad_multiple:
        raise SettingsError(
            f"memory_budget is known for U-Nets of a fixed size on {' and '.join(APPETITES)} and "
            f"for tensorrt; this is {network['name']} on {engine}. Load without it"
        )
    sizes = [spec.stage1] if spec.stage2 is None else [spec.stage1, spec.stage2]
    regions = max(1, spec.region.tiles) if spec.region.mode == "tiles" else 1
    cells = max(size.height * size.width for size in sizes) * regions
    large = appetite.large // np.dtype(spec.input_type).itemsize
    return WorkingMemory(appetite.a_pixel(spec), appetite.element * network["width"] * cells, large)
