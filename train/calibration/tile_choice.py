"""Choose how many tiles stage 2 looks at and how far they overlap, by the Dice that they give.

On validation images and, since those are few, on training images too: stage 2 is better on these,
but what a tile that is left out costs, it costs on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from foveate.runtime.agreement import Mask
from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.spec import OVERLAPS
from foveate.runtime.tiles import tile_grid
from foveate.train.calibration.choosing import Choosing, Chosen
from foveate.train.calibration.image_dice import class_dice, mean_dice_of
from foveate.train.data.full_images import FullImages
from foveate.train.reference.cascade import TorchCascade, planes
from foveate.train.reference.geometry import crop_box, whole_box
from foveate.train.reference.tiles import Tiles, blend_tiles, choose_tiles

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MEASURED = 24
"""At most twice as many validation images are looked at, and as many training images."""
NEAR = 0.005
"""The least work whose Dice is no further below the best that was measured is taken."""
BATCH = 4


@dataclass(frozen=True)
class TileCount:
    """A number of tiles (0: all of them) and an overlap, with the mean Dice they give.

    ``run`` is the mean number of tiles that stage 2 ran on, at most ``tiles``; ``images`` the
    number of images.
    """

    tiles: int
    overlap: float
    dice: float
    run: float
    images: int = 0


def judged(training: Sequence[str], validation: Sequence[str]) -> list[str]:
    """Return the stems to choose by: spread over both lists."""
    kept = list(validation)[:: max(1, len(validation) // MEASURED)]
    return kept + list(training)[:: max(1, -(-len(training) // MEASURED))]


def measure_tiles(
    cascade: TorchCascade,
    full: FullImages,
    stems: Sequence[str],
    choosing: Choosing = Choosing(),  # noqa: B008
) -> list[TileCount]:
    """Return every number of tiles and overlap with its mean Dice at the images' own size."""
    classes = len(cascade.spec.classes) - 1
    rows: dict[tuple[float, int], list[list[float]]] = {}
    run: dict[tuple[float, int], list[int]] = {}
    for number, stem in enumerate(stems, 1):
        image, truth = full.get(stem)
        for overlap in OVERLAPS:
            masks, total = _masks(cascade, image, overlap)
            for count, mask in masks.items():
                rows.setdefault((overlap, count), []).append(class_dice(mask, truth, classes))
                run.setdefault((overlap, count), []).append(min(count, total) if count else total)
        choosing.show(number, len(stems))
        if choosing.ends_after(number):
            break
    return [
        TileCount(count, overlap, mean_dice_of(found), float(np.mean(ran)), len(found))
        for ((overlap, count), found), ran in zip(rows.items(), run.values(), strict=True)
    ]


def choose_count(table: Sequence[TileCount]) -> TileCount:
    """Return what runs the fewest tiles of all that come near the best Dice.

    Of equals what is bounded: all tiles of a larger image may be more than of those seen.
    """
    best = max(row.dice for row in table)
    near = [row for row in table if row.dice >= best - NEAR]
    return min(near, key=lambda row: (row.run, row.tiles or math.inf, -row.dice))


def ceiling(table: Sequence[TileCount]) -> TileCount:
    """Return the best that a sliding window gives."""
    return max((row for row in table if not row.tiles), key=lambda row: row.dice)


def _masks(cascade: TorchCascade, image: Pixels, overlap: float) -> tuple[dict[int, Mask], int]:
    """Return the mask that each number of tiles gives (0: all), and how many tiles there are."""
    votes, tiles = _votes(cascade, image, overlap)
    total = tiles.top.shape[1]
    masks, blended, done = {}, torch.zeros(()), 0
    for count in (*COUNTS, 0):
        stop = min(count or total, total)
        if stop > done:
            blended = blended + blend_tiles(votes[:, done:stop], tiles.part(done, stop))
            done = stop
        masks[count] = np.asarray(cascade.decide_blended(blended)[0].numpy(), np.uint8)
    return masks, total


@torch.inference_mode()
def _votes(cascade: TorchCascade, image: Pixels, overlap: float) -> tuple[Tensor, Tiles]:
    """Return stage 2's votes on every tile of an image, (1, T, C, h2, w2), best tile first."""
    spec = cascade.spec
    assert spec.stage2 is not None and cascade.stage2 is not None
    values = torch.from_numpy(as_input_type(image, *spec.input_kind).astype(np.float32))
    pixels = planes(values[None])
    height, width = image.shape[:2]
    small = crop_box(pixels, whole_box(1, height, width), spec.stage1) / spec.full_scale
    normal = cascade.statistics(small)
    coarse = cascade.probabilities(cascade.stage1((small - normal[0]) / normal[1]))
    foreground = cascade.foreground(coarse)
    grid = tile_grid(replace(spec.region, overlap=overlap), spec.stage2)
    tiles = choose_tiles(foreground, grid, height, width, grid.count(height, width))
    parts = []
    for start in range(0, tiles.top.shape[1], BATCH):
        part = tiles.part(start, start + BATCH)
        seen = cascade.seen_in_tiles(pixels, normal, foreground, part)
        refined = cascade.probabilities(cascade.stage2(seen.flatten(0, 1)))
        parts.append(cascade.votes(refined.reshape(*seen.shape[:2], *refined.shape[1:])))
    return torch.cat(parts, dim=1), tiles


def choose_tiling(
    cascade: TorchCascade,
    full: FullImages,
    training: Sequence[str],
    validation: Sequence[str],
    choosing: Choosing,
) -> Chosen:
    """Choose number and overlap of the tiles by the Dice they give."""
    choosing.log("Choosing the tiles of stage 2.")
    table = measure_tiles(cascade, full, judged(training, validation), choosing)
    best, all_tiles = choose_count(table), ceiling(table)
    choosing.log(
        f"Tiles of stage 2: the best {best.tiles or 'of all'} with an overlap of "
        f"{best.overlap:.0%}, Dice {best.dice:.4f} by {best.run:.1f} tiles an image "
        f"on average, on {best.images} validation and training images. All tiles: "
        f"{all_tiles.dice:.4f} by {all_tiles.run:.1f}, overlap {all_tiles.overlap:.0%}."
    )
    region = replace(cascade.spec.region, tiles=best.tiles, overlap=best.overlap)
    return replace(cascade.spec, region=region), [asdict(row) for row in table]
