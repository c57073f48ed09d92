"""Build the result of each image from the outputs of a graph for a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Array

Mask = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
EMPTY: Mask = np.empty((0, 0), np.uint8)
"""In the place of a mask that stayed on a GPU."""


@dataclass(frozen=True)
class Timings:
    """Where the time of a run went, in milliseconds.

    ``h2d_ms``: the images become the engine's input (on a GPU, also the copy to it).
    ``execute_ms``: the engine. ``d2h_ms``: its outputs become checked results (on a GPU, also the
    copy from it). On a GPU the device's share is measured there, between events, and waiting for
    earlier runs is in none of them. Images that ran as one batch share the times of the batch.
    """

    h2d_ms: float
    execute_ms: float
    d2h_ms: float


@dataclass(frozen=True)
class Result:
    """The result of one image.

    ``mask`` is (H, W) uint8 class indices at the image's own size, the ``out`` of the call itself
    where one was given. ``box_xyxy`` is the region
    stage 2 looked at, (R, 4) float32 in pixels of the image, end exclusive. ``score`` is the mean
    winning probability over the foreground, 0 where there is none. ``coarse`` (C, h1, w1) and
    ``refined`` (R * C, h2, w2) are float32 probabilities, None unless asked for. ``timings`` is
    where the time went, and ``engine`` what ran ("tensorrt fp16"); every result of a Cascade has
    both.
    """

    mask: Mask
    box_xyxy: FloatArray
    score: float
    coarse: FloatArray | None = None
    refined: FloatArray | None = None
    timings: Timings | None = None
    engine: str = ""


def results_of(
    found: Mapping[str, Array], count: int, timings: Timings, engine: str
) -> list[Result]:
    """Return one result for each of ``count`` images; their arrays are views of what was found."""
    return [_result(found, index, count, timings, engine) for index in range(count)]


def _result(
    found: Mapping[str, Array], index: int, count: int, timings: Timings, engine: str
) -> Result:
    coarse, refined = found.get("coarse"), found.get("refined")
    if refined is not None:
        per_image = len(refined) // count
        refined = refined[index * per_image : (index + 1) * per_image]
        refined = refined.reshape(-1, *refined.shape[2:])
    return Result(
        mask=found["mask"][index] if "mask" in found else EMPTY,
        box_xyxy=found["box"][index],
        score=float(found["score"][index]),
        coarse=None if coarse is None else coarse[index],
        refined=refined,
        timings=timings,
        engine=engine,
    )
