"""The grid of tiles covers every image, and blended tiles give what they agree on."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from foveate.runtime.errors import BundleError
from foveate.runtime.io.probability import probability_picture
from foveate.runtime.io.result_line import result_line
from foveate.runtime.limits import MAX_ELEMENTS, largest_channels, tile_elements
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec, Region
from foveate.runtime.tiles import FloatArray, TileAxis, TileGrid, blend_tiles
from tests.drawing import small_spec, tiled

AXES = [TileAxis(side, side * quarters // 4) for side in (8, 64) for quarters in (0, 1, 2)]


@pytest.mark.parametrize("axis", AXES)
def test_the_fewest_tiles_cover_every_size(axis: TileAxis) -> None:
    for size in range(1, 5 * axis.side):
        count = axis.count(size)
        reach = (count - 1) * axis.stride + axis.side
        assert reach >= size
        assert count == 1 or reach - axis.stride < size


@pytest.mark.parametrize("axis", AXES)
def test_weights_of_neighbours_add_up_to_one(axis: TileAxis) -> None:
    window, total = axis.window(), np.zeros(axis.stride * 3 + axis.side)
    for number in range(4):
        total[number * axis.stride :][: axis.side] += window
    np.testing.assert_allclose(total[axis.side : -axis.side], 1, atol=1e-6)
    assert window.min() > 0


def field(height: int, width: int) -> FloatArray:
    y, x = np.mgrid[:height, :width]
    return np.asarray((np.sin(x / 17) + np.cos(y / 13) + 2) / 4, np.float32)


def all_tiles(grid: TileGrid, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return the smooth field on every tile (T, 1, h2, w2), and their boxes inside the image."""
    rows, columns = grid.rows, grid.columns
    whole = field(height + rows.side, width + columns.side)
    parts, boxes = [], []
    for top in np.arange(rows.count(height)) * rows.stride:
        for left in np.arange(columns.count(width)) * columns.stride:
            bottom, right = top + rows.side, left + columns.side
            parts.append(whole[None, top:bottom, left:right])
            boxes.append([left, top, min(right, width), min(bottom, height)])
    return np.stack(parts), np.array(boxes, np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_a_smooth_field_blended_is_itself(overlap: float) -> None:
    spec = tiled(small_spec(), 0, overlap)
    grid = TileGrid(TileAxis(64, int(64 * overlap)), TileAxis(32, int(32 * overlap)))
    parts, boxes = all_tiles(grid, 150, 101)
    blended = blend_tiles(parts, boxes, grid, range(150), 101)[0]
    np.testing.assert_allclose(blended, field(150, 101), atol=1e-6)
    result = Result(np.zeros((150, 101), np.uint8), boxes, 0.5, refined=parts[:, 0])
    picture = probability_picture(result, spec)
    assert np.abs(picture - 255 * field(150, 101)).max() <= 0.51


def test_where_no_tile_is_nothing_is_found() -> None:
    grid = TileGrid(TileAxis(64, 16), TileAxis(32, 8))
    parts, boxes = all_tiles(grid, 150, 101)
    blended = blend_tiles(parts[:1], boxes[:1], grid, range(60, 150), 101)[0]
    np.testing.assert_allclose(blended[:4, :32], field(150, 101)[60:64, :32], atol=1e-6)
    assert not blended[4:].any() and not blended[:, 32:].any()


def test_a_description_without_tiles_is_still_read() -> None:
    values = small_spec().as_dict()
    del values["region"]["tiles"], values["region"]["overlap"]
    assert CascadeSpec.from_dict(values) == small_spec()


WRONG = {
    "tiles": {"tiles": -1},
    "overlap": {"overlap": 0.3},
    "region mode": {"mode": "all"},
    "tiles is": {"tiles": 1.5},
}


@pytest.mark.parametrize(("message", "changes"), WRONG.items())
def test_what_no_graph_can_express_is_named(message: str, changes: dict[str, object]) -> None:
    values = tiled(small_spec(), 3, 0.25).as_dict()
    values["region"] = {**asdict(Region("tiles")), **changes}
    with pytest.raises(BundleError, match=message):
        CascadeSpec.from_dict(values)


def test_what_many_tiles_need_is_counted() -> None:
    """All tiles are as large as the image, and twice that a side where half of each is shared."""
    assert largest_channels(tiled(small_spec(), 0, 0.0), 16) == 32
    assert largest_channels(tiled(small_spec(), 0, 0.5), 16) == 128
    assert tile_elements(tiled(small_spec(), 8, 0.5), 16) == 8 * 32 * 64 * 32 < MAX_ELEMENTS
    assert tile_elements(small_spec(), 16) == 0


def test_a_tile_at_the_border_is_no_mask_at_the_border() -> None:
    spec = tiled(small_spec(), 1, 0.25)
    mask = np.zeros((60, 80), np.uint8)
    mask[5:9, 5:9] = 1
    found = Result(mask, np.array([[0, 0, 32, 60]], np.float32), 0.9)
    ramp = np.arange(60 * 80).reshape(60, 80).astype(np.uint8)
    lines = [result_line("a", 0, {"a.png": "0"}, ramp, found, spec)]
    mask[0, 5] = 1
    lines.append(result_line("a", 0, {"a.png": "0"}, ramp, found, spec))
    assert [line["flags"] for line in lines] == [[], ["touches_border"]]
