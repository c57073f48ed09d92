"""What working memory a call of ONNX Runtime takes, by what was measured (docs/embed.md).

OpenVINO has no place here: it keeps something for every size it ever saw, so no number of pixels
bounds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveate.runtime.choice import CPU_ENGINE
from foveate.runtime.errors import SettingsError
from foveate.runtime.limits import LARGE
from foveate.runtime.spec import CascadeSpec

NETWORKS = {
    "threshold": (256, 56),
    "unet": (256, 56),
    "residual": (560, 46),
    "attention": (560, 46),
    "residual_attention": (560, 46),
}
"""Bytes of a stage's pixel, and of one of its channels, at most, of networks that were measured
(``benchmarks.network_memory``). Encoders have other layers of the same width."""
A_CLASS = 16
"""Bytes of a class in a stage's pixel, at most."""
A_PIXEL = 36
"""Bytes of a pixel in the arena, at most: 9 to 30 were measured, as its regions happen to fall."""
A_LARGE_BYTE = 12
"""Bytes of a byte of an image that goes past the arena, at most: 7.1 to 9.7 were measured."""


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes of a call: so many ``a_pixel`` and, whatever its size, so many ``an_image``.

    From ``large`` pixels on a call takes ``a_large_pixel``, beside what the arena keeps.
    """

    a_pixel: float
    an_image: float
    large: int
    a_large_pixel: float

    def is_large(self, pixels: int) -> bool:
        """Say whether a call of so many pixels in all is a large one."""
        return pixels >= self.large

    def nbytes(self, count: int, pixels: int) -> int:
        """Return the bytes of a call of ``count`` images of so many pixels each."""
        each = self.a_large_pixel if self.is_large(count * pixels) else self.a_pixel
        return round(count * (each * pixels + self.an_image))

    @property
    def most_small(self) -> int:
        """The bytes of the largest call that goes through the arena."""
        return round(self.a_pixel * self.large + self.an_image)


def working_memory(engine: str, spec: CascadeSpec, network: Mapping[str, Any]) -> WorkingMemory:
    """Return what a call of a bundle takes; SettingsError where nobody has measured it."""
    known = network["name"] in NETWORKS and spec.region.mode != "tiles" and not spec.pad_multiple
    if engine != CPU_ENGINE or not known:
        raise SettingsError(
            "memory_budget is known for tensorrt, and on onnxruntime for networks without an "
            "encoder, of a fixed size, without tiles; "
            f"this is {network['name']}, regions {spec.region.mode}, on {engine}. "
            "Load without it, or with engine onnxruntime"
        )
    sizes = [spec.stage1] if spec.stage2 is None else [spec.stage1, spec.stage2]
    cells = max(size.height * size.width for size in sizes)
    nbytes = np.dtype(spec.input_type).itemsize
    a_cell, a_channel = NETWORKS[network["name"]]
    classes = len(spec.classes) - 1
    an_image = cells * (a_cell + a_channel * network["width"] + A_CLASS * classes)
    return WorkingMemory(A_PIXEL, an_image, LARGE // nbytes, A_LARGE_BYTE * nbytes)
