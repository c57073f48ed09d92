"""What is chosen once the networks are trained, and how the log tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from foveate.runtime.spec import CascadeSpec
from foveate.train.calibration.boxes import Candidate
from foveate.train.calibration.decision import (
    Decision,
    best_decision,
    measure_boxes_by_dice,
    measure_thresholds,
    some,
)
from foveate.train.calibration.tile_choice import ceiling, choose_count, judged, measure_tiles
from foveate.train.data.full_images import FullImages
from foveate.train.data.views import RegionCrops
from foveate.train.reference.cascade import TorchCascade

Chosen = tuple[CascadeSpec, list[dict[str, Any]]]
"""What a cascade is after a choice, and the table that the choice was made from."""
Log = Callable[[str], None]


def choose_decision(
    cascade: TorchCascade,
    crops: RegionCrops,
    validation: Sequence[str],
    boxes: Sequence[Candidate],
    log: Log,
) -> Chosen:
    """Choose box and mask threshold by the Dice that they give on validation images."""
    log("Choosing how to decide, by the Dice it gives.")
    table = measure_boxes_by_dice(cascade, crops, validation, boxes)
    best = best_decision(table)
    log(
        f"{_dice_of(table, validation)}: box by coarse threshold {best.threshold} and margin "
        f"{best.margin}, at least {best.min_height} x {best.min_width} pixels, mask threshold "
        f"{best.mask_threshold}."
    )
    return best.applied(cascade.spec), [row.as_dict() for row in table]


def choose_threshold(
    cascade: TorchCascade, full: FullImages, validation: Sequence[str], log: Log
) -> Chosen:
    """Choose the mask threshold of a one-stage network by its Dice on validation images."""
    log("Choosing how to decide, by the Dice it gives.")
    table = measure_thresholds(cascade, full, validation)
    best = best_decision(table)
    log(f"{_dice_of(table, validation)}: mask threshold {best.mask_threshold}.")
    return best.applied(cascade.spec), [row.as_dict() for row in table]


def _dice_of(table: Sequence[Decision], validation: Sequence[str]) -> str:
    return (
        f"Dice {best_decision(table).dice:.4f} on {len(some(validation))} validation images at "
        f"their own size ({table[0].dice:.4f} before)"
    )


def choose_tiles(
    cascade: TorchCascade,
    full: FullImages,
    training: Sequence[str],
    validation: Sequence[str],
    log: Log,
) -> Chosen:
    """Choose number and overlap of the tiles by the Dice they give."""
    log("Choosing the tiles of stage 2.")
    stems = judged(training, validation)
    table = measure_tiles(cascade, full, stems)
    best, all_tiles = choose_count(table), ceiling(table)
    log(
        f"Tiles of stage 2: the best {best.tiles or 'of all'} with an overlap of "
        f"{best.overlap:.0%}, Dice {best.dice:.4f} by {best.run:.1f} tiles an image "
        f"in the mean, on {len(stems)} validation and training images. All tiles: "
        f"{all_tiles.dice:.4f} by {all_tiles.run:.1f}, overlap {all_tiles.overlap:.0%}."
    )
    region = replace(cascade.spec.region, tiles=best.tiles, overlap=best.overlap)
    return replace(cascade.spec, region=region), [row.as_dict() for row in table]
