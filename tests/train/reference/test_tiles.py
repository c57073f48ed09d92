"""Which tiles are chosen, what training shows of them, and how many are taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foveate.runtime.agreement import dice
from foveate.runtime.arrays import as_input_type
from foveate.runtime.tiles import TileAxis, TileGrid, tile_grid
from foveate.train.calibration.tile_choice import (
    COUNTS,
    TileCount,
    choose_count,
    judged,
    measure_tiles,
)
from foveate.train.data.dataset import load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.tile_views import TileCrops
from foveate.train.data.views import FloatArray, ViewSource, whole_views
from foveate.train.reference.cascade import TorchCascade
from foveate.train.reference.tiles import choose_tiles, tile_boxes, tile_masses
from tests.drawing import random_network, small_spec, tiled

GRID = TileGrid(TileAxis(64, 16), TileAxis(64, 16))
SPEC = tiled(small_spec("uint16", mode="constants"), 3, 0.25)


def same(image: FloatArray, layers: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Augment nothing."""
    return image, layers


def blobs(*places: tuple[int, int, float]) -> Tensor:
    """Return (1, 60, 80) of an image of 240 x 320: cells of one probability at rows, columns."""
    foreground = torch.zeros(1, 60, 80)
    for row, column, probability in places:
        foreground[0, row, column] = probability
    return foreground


def test_every_pixel_counts_in_one_tile() -> None:
    masses = tile_masses(torch.ones(1, 60, 80), GRID, 250, 333)
    assert masses.shape == (1, GRID.count(250, 333))
    assert float(masses.sum()) == pytest.approx(250 * 333, rel=1e-5)


def test_the_tiles_with_the_most_foreground_come_first() -> None:
    """A sure cell goes before four that are hardly so, and those before nothing at all."""
    doubtful = [(50, 70, 0.4), (50, 71, 0.4), (51, 70, 0.4), (51, 71, 0.4)]
    tiles = choose_tiles(blobs((5, 5, 0.9), *doubtful), GRID, 240, 320, 3)
    boxes = tile_boxes(tiles)[0].tolist()
    assert boxes[0] == [0, 0, 64, 64]
    assert boxes[1] == [240, 192, 304, 240]
    assert boxes[2] == [48, 0, 112, 64]


def test_where_stage_1_finds_nothing_the_least_unlikely_tiles_are_looked_at() -> None:
    tiles = choose_tiles(blobs((30, 40, 0.3)), GRID, 240, 320, 2)
    assert tile_boxes(tiles)[0].tolist() == [[144, 96, 208, 160], [0, 0, 64, 64]]


def test_training_sees_what_the_cascade_sees(data: Path) -> None:
    dataset = load_dataset(data)
    networks = random_network(1, 1, 0), random_network(2, 1, 1)
    cascade = TorchCascade(SPEC, *networks).eval()
    source = ViewSource(FullImages(dataset), {}, dataset.stems, SPEC, same, 0)
    crops = TileCrops(source, {})
    assert SPEC.stage2 is not None
    for stem in dataset.stems[:4]:
        image = as_input_type(dataset.image(stem), "uint16")
        with torch.inference_mode():
            found = cascade(torch.from_numpy(image.astype(np.float32))[None])
        answer = cascade.foreground(found.coarse)[0]
        tiles = choose_tiles(answer[None], tile_grid(SPEC.region, SPEC.stage2), *image.shape, 3)
        for k in range(3):
            pixels, hint, target = crops.region(stem, tiles.part(k, k + 1), answer)
            seen = np.concatenate([(pixels - 0.4) / 0.2, hint[None]])
            assert np.abs(seen - found.stage2_input[k].numpy()).max() <= 1 / 255
            x0, y0, x1, y1 = found.box[0, k].int().tolist()
            truth = dataset.mask(stem)[y0:y1, x0:x1]
            np.testing.assert_array_equal(target[0, : y1 - y0, : x1 - x0], truth)


def test_training_tiles_are_drawn_where_the_truth_is_and_elsewhere(data: Path) -> None:
    dataset = load_dataset(data)
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, SPEC.stage1, lambda done, total: None)
    answers = {stem: [torch.rand(48, 64)] for stem in dataset.stems}
    crops = TileCrops(ViewSource(full, views, dataset.stems, SPEC, same, 5), answers)
    items = [crops[index] for index in range(60)]
    assert {(*inputs.shape, *target.shape) for inputs, target in items} == {(2, 64, 32, 1, 64, 32)}
    held = np.mean([bool(target.any()) for _, target in items])
    assert 0.3 < held < 0.9
    assert all(torch.equal(a, b) for a, b in zip(crops[7], items[7], strict=True))


def test_fewer_tiles_are_measured_as_the_cascade_would_run_them(data: Path) -> None:
    dataset = load_dataset(data)
    full = FullImages(dataset)
    networks = random_network(1, 1, 3), random_network(2, 1, 4)
    stem = next(stem for stem in dataset.stems if 1 in dataset.contents[stem].areas)
    table = measure_tiles(TorchCascade(SPEC, *networks).eval(), full, [stem])
    image = as_input_type(dataset.image(stem), "uint16").astype(np.float32)
    rows = {(row.tiles, row.overlap): row for row in table}
    assert {count for count, _ in rows} == {*COUNTS, 0}
    for tiles, overlap in ((3, 0.25), (6, 0.5), (0, 0.0)):
        cascade = TorchCascade(tiled(SPEC, tiles, overlap), *networks).eval()
        with torch.inference_mode():
            mask = cascade(torch.from_numpy(image)[None]).mask[0].numpy()
        expected = dice(mask, dataset.mask(stem), 1)
        assert rows[tiles, overlap].dice == pytest.approx(expected, abs=1e-5)
        if tiles:
            assert rows[tiles, overlap].run == tiles


def test_the_least_work_near_the_best_is_taken() -> None:
    table = [
        TileCount(1, 0.0, 0.700, 1),
        TileCount(4, 0.0, 0.797, 3.5),
        TileCount(4, 0.25, 0.799, 4),
        TileCount(6, 0.5, 0.801, 6),
        TileCount(0, 0.5, 0.800, 40),
    ]
    assert choose_count(table) == table[1]
    assert choose_count([table[0], table[4]]) == table[4]
    assert choose_count([table[4], TileCount(64, 0.5, 0.800, 40)]).tiles == 64


def test_what_is_judged_is_spread_over_both_lists() -> None:
    training, validation = [f"t{n}" for n in range(100)], [f"v{n}" for n in range(13)]
    stems = judged(training, validation)
    assert stems[:13] == validation and stems[13:] == training[::5]
    assert judged(["a", "b"], ["c"]) == ["c", "a", "b"]
