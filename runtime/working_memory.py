"""What working memory a call takes, by what was measured (docs/results.md, working memory)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveate.runtime.errors import SettingsError
from foveate.runtime.spec import CascadeSpec

MEASURED = ("unet", "threshold")
"""Networks whose layers were measured; encoders have other ones of the same width."""


@dataclass(frozen=True)
class Appetite:
    """Bytes that an engine takes, and keeps, at most: what was measured, rounded up.

    ``pixel`` and ``wide_pixel``: a pixel of an 8-bit and of a 16-bit bundle. ``plane``: a pixel of
    each class beyond two. ``element``: a number of a network's widest layer. ``large``: images of
    as many bytes lie beside what the others keep; 0 where there is no such difference.
    """

    pixel: float
    wide_pixel: float
    plane: float
    element: float
    large: int = 0


APPETITES = {
    "onnxruntime": Appetite(30, 30, 0, 64, large=1 << 26),
    "openvino": Appetite(32, 52, 20, 160),
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
    wide = spec.input_type == "uint16"
    a_pixel = (appetite.wide_pixel if wide else appetite.pixel) + appetite.plane * (
        spec.channels - 1
    )
    sizes = [spec.stage1] if spec.stage2 is None else [spec.stage1, spec.stage2]
    regions = max(1, spec.region.tiles) if spec.region.mode == "tiles" else 1
    cells = max(size.height * size.width for size in sizes) * regions
    large = appetite.large // (2 if wide else 1)
    return WorkingMemory(a_pixel, appetite.element * network["width"] * cells, large)
