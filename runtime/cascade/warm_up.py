"""Run each size in advance: the first runs of a size cost more than later ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foveate.runtime.arrays import Pixels, feed
from foveate.runtime.cascade.session import Session
from foveate.runtime.engines.base import FixedShapeEngine
from foveate.runtime.engines.registry import is_whole
from foveate.runtime.errors import DeviceMemoryError, GraphError, ImageError, SettingsError

Shape = tuple[int, ...]
RUNS = 2
"""ONNX Runtime plans the memory of a size in its first run and allocates it in the second."""
SLOT_RUNS = 3
"""A slot of a GPU runs a size plainly, then captures it, then replays it."""


@dataclass(frozen=True)
class Refused:
    """A shape that the cascade cannot take, and why."""

    shape: Shape
    reason: str


def warm_up(session: Session, shapes: Sequence[Shape], fixed: bool) -> list[Refused]:
    """Run every shape, (H, W) or (N, H, W), until its runs cost the same; return those refused.

    A batch is run by the calls that it is divided into. ``fixed``: an engine that gains by it
    compiles for their shapes first.
    """
    refused = []
    for shape in [_checked(shape) for shape in shapes]:
        try:
            images = _images(session, shape)
            for count in sorted(set(map(len, session.parts(images)))):
                part = images[:count]
                if fixed and isinstance(session.engine, FixedShapeEngine):
                    session.run_batch(part)  # a size that is refused is not compiled for
                    session.engine.fix_shape((count, *feed(images[0][None]).shape[1:]))
                _run(session, part)
        except (ImageError, GraphError, DeviceMemoryError) as error:
            refused.append(Refused(shape, str(error)))
    return refused


def _checked(shape: Shape) -> Shape:
    """Return a shape of (H, W) or (N, H, W) from 1; SettingsError for anything else."""
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sides) not in (2, 3) or not all(is_whole(side) and side > 0 for side in sides):
        raise SettingsError(
            f"the shape {shape!r} to warm up; expected a list of (H, W) or (N, H, W), from 1"
        )
    return sides


def _images(session: Session, shape: Shape) -> list[Pixels]:
    count = shape[0] if len(shape) == 3 else 1
    sides = (*shape[-2:], *session.spec.channel_side)
    return [np.zeros(sides, session.spec.input_type) for _ in range(count)]


def _run(session: Session, images: Sequence[Pixels]) -> None:
    slots = session.max_in_flight
    for _ in range(RUNS if slots == 1 else SLOT_RUNS * slots):
        session.run_batch(images)
