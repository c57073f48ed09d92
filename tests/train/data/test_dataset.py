"""Data sets: how masks are understood, what is refused by name, groups that stay together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import DataError
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.data.dataset import load_dataset, split_validation
from foveate.train.data.summary import doubts
from foveate.train.settings.settings import Settings
from foveate.train.training import open_data


def make(root: Path, values: Sequence[int], count: int = 4, size: int = 16) -> Path:
    """Write a data set whose masks hold ``values`` in rows."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        mask = np.zeros((size, size), np.uint8)
        for row, value in enumerate(values):
            mask[row] = value
        image = rng.integers(0, 255, (size, size)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"i{index}.png"), image)
        cv2.imwrite(str(root / "masks" / f"i{index}.png"), mask)
    return root


@pytest.mark.parametrize(
    ("values", "encoding", "classes"),
    [
        ((0, 255), "0 and 255", 1),
        ((0, 1), "0 and 1", 1),
        ((0, 1, 2), "class indices", 2),
        ((0, 1, 2, 3), "class indices", 3),
    ],
)
def test_masks_are_understood(
    tmp_path: Path, values: Sequence[int], encoding: str, classes: int
) -> None:
    dataset = load_dataset(make(tmp_path / "d", values))
    assert (dataset.encoding, dataset.classes) == (encoding, classes)
    assert set(np.unique(dataset.mask("i0"))) == set(range(classes + 1))


def test_images_of_the_test_list_are_not_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "d", (0, 255))
    settings = Settings(data_dir=str(root))
    (root / "test.txt").write_text("i1\ni3\nelsewhere\n")
    (root / "masks" / "i3.png").unlink()
    assert open_data(settings).stems == ("i0", "i2")
    assert f"2 images of {root / 'test.txt'} are left out" in capsys.readouterr().out
    (root / "train.txt").write_text("i0\ni1\n")
    assert open_data(settings).stems == ("i0", "i1")
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize("values", [(0, 7), (0, 1, 255), (0, 2), (0,), (1, 2)])
def test_other_mask_values_are_refused(tmp_path: Path, values: Sequence[int]) -> None:
    root = make(tmp_path / "d", values)
    if 0 in values[1:] or values == (1, 2):
        for path in (root / "masks").iterdir():
            cv2.imwrite(str(path), np.full((16, 16), 1, np.uint8))
    with pytest.raises(DataError, match=r"values|empty|background"):
        load_dataset(root)


def test_groups_are_never_split(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 255), count=12)
    lines = "".join(f"i{index}\tg{index // 3}\n" for index in range(12))
    (root / "groups.tsv").write_text(lines)
    dataset = load_dataset(root)
    for seed in range(6):
        training, validation = split_validation(dataset, 0.3, seed)
        assert sorted(training + validation) == sorted(dataset.stems)
        assert validation
        sides = [{dataset.groups[stem] for stem in side} for side in (training, validation)]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("seed", range(6))
def test_both_sides_of_the_split_have_foreground(tmp_path: Path, seed: int) -> None:
    root = make(tmp_path / "d", (0, 255), count=12)
    for index in range(12):
        if index not in (2, 9):
            cv2.imwrite(str(root / "masks" / f"i{index}.png"), np.zeros((16, 16), np.uint8))
    dataset = load_dataset(root)
    for side in split_validation(dataset, 0.1, seed):
        assert len({"i2", "i9"} & set(side)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_rare_class_is_on_both_sides_and_what_is_missing_is_said(
    tmp_path: Path, seed: int
) -> None:
    root = make(tmp_path / "d", (0, 1), count=12, size=32)
    for stem, label in (("i2", 2), ("i9", 2), ("i5", 3)):
        mask = np.zeros((32, 32), np.uint8)
        mask[:8, :8] = label
        cv2.imwrite(str(root / "masks" / f"{stem}.png"), mask)
    dataset = load_dataset(root)
    training, validation = split_validation(dataset, 0.1, seed)
    assert len({"i2", "i9"} & set(training)) == 1
    spec = CascadeSpec("uint8", Size(32, 32), Size(32, 32), ("background", "row", "two", "once"))
    notes = doubts(dataset, training, validation, spec)
    assert (
        len(notes) == 1 and f"no {'training' if 'i5' in validation else 'validation'}" in notes[0]
    )
    small = doubts(dataset, training, validation, replace(spec, stage1=Size(8, 8)))
    assert sum("region_mode=tiles" in note for note in small) == 3


def test_an_image_on_its_side_goes_with_an_upright_mask(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 255))
    image = Image.fromarray(np.zeros((16, 30), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "images" / "i0.png", exif=exif)
    cv2.imwrite(str(root / "masks" / "i0.png"), np.zeros((30, 16), np.uint8))
    dataset = load_dataset(root)
    assert dataset.image("i0").shape == dataset.mask("i0").shape == (30, 16)


def test_masks_without_an_image_are_named_and_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 255))
    (root / "images" / "i2.png").unlink()
    dataset = load_dataset(root)
    assert dataset.unpaired == ("i2",) and dataset.stems == ("i0", "i1", "i3")


def test_a_grey_mask_in_rgb_is_read_and_a_byte_order_mark_passed_over(tmp_path: Path) -> None:
    root = make(tmp_path / "d", (0, 1, 2))
    plain = load_dataset(root)
    for path in (root / "masks").iterdir():
        Image.open(path).convert("RGB").save(path)
    (root / "groups.tsv").write_text("\ufeffi0\tg\n", encoding="utf-8")
    dataset = load_dataset(root)
    assert dataset.fingerprint == plain.fingerprint and dataset.groups == {"i0": "g"}


@pytest.mark.parametrize(
    ("shape", "bits"), [((16, 16), 16), ((16, 16, 3), 16), ((16, 16), 8), ((16, 16, 3), 8)]
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_bits_are_known_before_an_image_is_decoded(
    tmp_path: Path, shape: tuple[int, ...], bits: int, suffix: str
) -> None:
    """16-bit colours too: the set then takes 16 bits, as its pixels have them."""
    root = make(tmp_path / "d", (0, 255), count=2)
    pixels = np.random.default_rng(0).integers(0, 2**bits, shape).astype(f"uint{bits}")
    (root / "images" / "i1.png").unlink()
    cv2.imwrite(str(root / "images" / f"i1.{suffix}"), pixels)
    dataset = load_dataset(root)
    assert dataset.contents["i1"].bits == bits == dataset.image("i1").dtype.itemsize * 8
    assert dataset.input_type == f"uint{bits}"
    assert dataset.contents["i1"].nbytes == dataset.image("i1").nbytes + dataset.mask("i1").nbytes
    assert dataset.contents["i0"].areas == {0: 240, 1: 16}
