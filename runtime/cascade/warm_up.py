"""The first runs of a size, which cost more than the others, before the first real image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveate.runtime.engines.registry import is_whole
from foveate.runtime.errors import DeviceMemoryError, GraphError, ImageError, SettingsError

if TYPE_CHECKING:
    from foveate.runtime.cascade.cascade import Cascade

Shape = tuple[int, ...]
RUNS = 2
"""ONNX Runtime lays out the memory of a size in its first run and takes it in the second."""
SLOT_RUNS = 3
"""A slot of a GPU runs a size plainly, then captures it, then replays it."""


@dataclass(frozen=True)
class Refused:
    """A shape that the cascade does not take, and why."""

    shape: Shape
    reason: str


def warm_up(cascade: Cascade, shapes: Sequence[Shape]) -> list[Refused]:
    """Run every shape, (H, W) or (N, H, W), until its runs cost alike; return those refused."""
    found = []
    for shape in [_checked(shape) for shape in shapes]:
        try:
            _run(cascade, shape)
        except (ImageError, GraphError, DeviceMemoryError) as error:
            found.append(Refused(shape, str(error)))
    return found


def _checked(shape: Shape) -> Shape:
    """Return a shape of (H, W) or (N, H, W) from 1; SettingsError for anything else."""
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sides) not in (2, 3) or not all(is_whole(side) and side > 0 for side in sides):
        raise SettingsError(
            f"the shape {shape!r} to warm up; wanted a list of (H, W) or (N, H, W), from 1"
        )
    return sides


def _run(cascade: Cascade, shape: Shape) -> None:
    count = shape[0] if len(shape) == 3 else 1
    images = [np.zeros(shape[-2:], cascade.spec.input_type) for _ in range(count)]
    slots = cascade.beside + 1
    for _ in range(RUNS if slots == 1 else SLOT_RUNS * slots):
        cascade.together(images)
