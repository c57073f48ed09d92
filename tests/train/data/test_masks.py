"""Masks as tools write them: what each setting makes of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveate.runtime.agreement import IGNORED
from foveate.runtime.errors import DataError, SettingsError
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.data.dataset import DataSet, load_dataset
from foveate.train.data.summary import doubts
from foveate.train.settings.mask_rules import MaskRules
from foveate.train.settings.settings import Settings
from foveate.train.training import open_data

Array = npt.NDArray[np.generic]
SHAPE = (48, 64)
DISC = np.zeros(SHAPE, np.uint8)
cv2.circle(DISC, (30, 24), 12, 1, -1)
BOTH = DISC.copy()
BOTH[20:26, 50:60] = 2
"""A disc of 441 pixels of class 1, and 60 pixels of class 2."""


def write(root: Path, masks: Sequence[Any], suffix: str = "png") -> Path:
    """Write a data set of grey images with masks: arrays, colours in RGB, or 16-bit."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        grey = np.random.default_rng(number).integers(0, 255, mask.shape[:2]).astype(np.uint8)
        Image.fromarray(grey).save(root / "images" / f"i{number}.png")
        Image.fromarray(mask).save(root / "masks" / f"i{number}.{suffix}", quality=90)
    return root


def load(root: Path, **settings: Any) -> DataSet:
    return load_dataset(root, rules=MaskRules.of_settings(settings))


def coloured(mask: Array) -> Array:
    return np.array([(0, 0, 0), (200, 30, 30), (30, 200, 30)], np.uint8)[mask]


def with_row(mask: Array, value: int) -> Array:
    changed = mask.copy()
    changed[0] = value
    return changed


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("stored", "settings"),
    [
        (BOTH.astype(np.uint16), {}),
        (BOTH * np.uint8(3), {"mask_values": "a=3,b=6"}),
        (BOTH.astype(np.uint16) * 300, {"mask_values": "a=300,b=600"}),
        (np.array([9, 0, 4], np.uint8)[BOTH], {"mask_values": "background=9,a=0,b=4"}),
        (coloured(BOTH), {"mask_colours": "a=#c81e1e,b=#1EC81E"}),
    ],
    ids=["16 bit", "values", "16-bit values", "background", "colours"],
)
def test_classes_are_read(tmp_path: Path, stored: Array, settings: Any, suffix: str) -> None:
    dataset = load(write(tmp_path, [stored] * 2, suffix), **settings)
    np.testing.assert_array_equal(dataset.mask("i0"), BOTH)
    assert dataset.classes == 2 and dataset.mask("i0").dtype == np.uint8
    assert dataset.contents["i1"].areas == {0: 48 * 64 - 501, 1: 441, 2: 60}
    assert dataset.rules.names == (("a", "b") if settings else ())


@pytest.mark.parametrize(
    ("stored", "settings"),
    [
        (BOTH.astype(np.uint16) * 400, {"mask_instances": True}),
        (DISC.astype(np.uint16) * 65535, {}),
        (BOTH, {"mask_values": "a=1,a=2"}),
        (BOTH * np.uint8(90), {"mask_threshold": 80}),
    ],
    ids=["instances", "16-bit 0 and 65535", "one class of two values", "threshold"],
)
def test_one_class_is_read(tmp_path: Path, stored: Array, settings: Any) -> None:
    dataset = load(write(tmp_path, [stored] * 2), **settings)
    np.testing.assert_array_equal(dataset.mask("i0"), stored > 0)
    assert dataset.classes == 1


def test_a_soft_jpeg_becomes_a_clean_disc(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(DISC * np.uint8(255), (5, 5), 0)
    root = write(tmp_path, [soft] * 2, "jpg")
    assert 430 <= np.count_nonzero(load(root, mask_threshold=128).mask("i0")) <= 470
    with pytest.raises(DataError, match=r"expected {0, 255}.*mask_threshold=1\d\d takes values"):
        load(root)


@pytest.mark.parametrize("value", [255, 7])
def test_what_is_not_labelled_is_in_no_class(tmp_path: Path, value: int) -> None:
    dataset = load(write(tmp_path, [with_row(BOTH, value)] * 2), ignore_value=value)
    mask = dataset.mask("i0")
    assert (mask[0] == IGNORED).all() and np.array_equal(mask[1:], BOTH[1:])
    assert dataset.contents["i0"].areas == {0: 47 * 64 - 501, 1: 441, 2: 60}
    assert dataset.classes == 2 and dataset.layers == (1, 2, IGNORED)


def test_colours_that_are_not_named_are_told_with_their_count(tmp_path: Path) -> None:
    root = write(tmp_path, [coloured(BOTH)] * 2)
    with pytest.raises(DataError, match=r"i0\.png has colours.*\"class1=#c81e1e,class2=#1ec81e\""):
        load(root)
    with pytest.raises(DataError, match=r"i0\.png has colours .*: #1ec81e \(60 pixels\)"):
        load(root, mask_colours="a=#c81e1e")
    with pytest.raises(DataError, match="mask of i0 has 60 pixels of 2, which mask_values=a=1"):
        load(write(tmp_path / "grey", [BOTH] * 2), mask_values="a=1")


@pytest.mark.parametrize(
    ("stored", "advice"),
    [
        (
            with_row(BOTH, 255),
            "The setting ignore_value=255 leaves pixels of 255 out as not labelled, and",
        ),
        (with_row(DISC, 255), 'mask_values="class1=1,class2=255" names values'),
        (BOTH * np.uint8(50), r'\[0, 50, 100\].*The setting mask_values="class1=50,class2=100"'),
        (
            BOTH + np.uint8(1),
            r'no .* \[1, 2, 3\]. The setting mask_values="background=1,class1=2,class2=3"',
        ),
    ],
)
def test_the_refusal_names_what_would_read_it(tmp_path: Path, stored: Array, advice: str) -> None:
    with pytest.raises(DataError, match=advice):
        load(write(tmp_path, [stored] * 2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mask_threshold": 9, "mask_values": "a=1"}, "mask_threshold and mask_values do not go"),
        ({"mask_colours": "a=#000001", "mask_instances": True}, "mask_colours and mask_instances"),
        ({"mask_threshold": 9, "ignore_value": 255}, "ignore_value and mask_threshold do not go"),
        ({"mask_values": "a=255", "ignore_value": 255}, "255 is the ignore_value too"),
        ({"mask_values": "a=1,b=1"}, "1 is there twice"),
        ({"mask_values": "a=red"}, 'expected NAME=VALUE .*"lesion=1,vessel=7"'),
        ({"mask_colours": "a=1"}, 'expected NAME=VALUE .*"lesion=#c81e1e,vessel=#1ec81e"'),
        ({"mask_values": "background=1"}, "names 0 classes; expected 1 to 254"),
        ({"mask_values": "a=1", "class_names": "b"}, "leave class_names out"),
        ({"mask_instances": "maybe"}, "mask_instances is 'maybe'; expected true or false"),
        ({"ignore_value": 70000}, "ignore_value is 70000; expected -1 to 65535"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings(**settings)
    assert Settings(mask_instances="true") == Settings(mask_instances=True)  # type: ignore[arg-type]


def test_a_model_reads_the_classes_that_it_knows_by_name() -> None:
    rules = MaskRules.of_settings({"mask_values": "vessel=7,lesion=1"})
    assert rules.for_classes(("lesion", "vessel", "x")).values == {0: 0, 7: 2, 1: 1}
    with pytest.raises(SettingsError, match='does not know "lesion"; it knows vessel'):
        rules.for_classes(("vessel",))


def squares(count: int, number: Callable[[int], int]) -> Array:
    """Return a mask of 5 x 5 squares, apart from each other."""
    mask = np.zeros((64, 64), np.uint16)
    for index in range(count):
        row, column = divmod(index, 8)
        mask[8 * row : 8 * row + 5, 8 * column : 8 * column + 5] = number(index)
    return mask


def test_numbers_of_objects_are_no_classes(tmp_path: Path) -> None:
    counted = write(tmp_path / "a", [squares(n, lambda i: i + 1) for n in (12, 19, 7, 15)])
    own = write(
        tmp_path / "b",
        [squares(50, lambda i, n=n: i + 1 + 50 * n) for n in range(6)],  # type: ignore[misc]
    )
    for root in (counted, own):
        with pytest.raises(DataError, match="connected piece each.*mask_instances=true"):
            open_data(Settings(data_dir=str(root)))
        with pytest.raises(DataError, match="mask_instances=true"):
            open_data(Settings(data_dir=str(root), ignore_value=999))
        assert open_data(Settings(data_dir=str(root), mask_instances=True)).classes == 1
    organs = write(tmp_path / "c", [squares(13, lambda i: i + 1)] * 4)
    assert open_data(Settings(data_dir=str(organs))).classes == 13


def test_what_looks_like_a_mistake_is_said(tmp_path: Path) -> None:
    full = np.ones(SHAPE, np.uint8)
    full[0] = 0
    dataset = load(write(tmp_path, [full, full, full, with_row(BOTH, 0)]))
    spec = CascadeSpec("uint8", Size(32, 32), Size(32, 32), ("background", "a", "b"))
    notes = doubts(dataset, dataset.stems[:3], dataset.stems[3:], spec)
    assert len(notes) == 2 and "over 95% foreground. Are the masks inverted?" in notes[0]
    assert 'only i3 holds "b", so no training image does' in notes[1]
