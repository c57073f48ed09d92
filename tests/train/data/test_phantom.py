"""Phantoms: the same everywhere, within their promises, and not to be had by a threshold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.agreement import dice
from foveate.runtime.errors import SettingsError
from foveate.train.data.dataset import load_dataset
from foveate.train.data.phantom import SIZES, PhantomSettings, phantom, phantoms, write_phantoms
from tests.conftest import run


def test_an_image_depends_on_seed_and_index_alone() -> None:
    few, many = PhantomSettings(3, 128, seed=5), PhantomSettings(9, 128, seed=5)
    one, other = phantom(few, 2), phantom(many, 2)
    assert hashlib.sha256(one.image.tobytes()).digest() == hashlib.sha256(other.image).digest()
    assert not np.array_equal(one.image, phantom(PhantomSettings(3, 128, seed=6), 2).image)


def test_lesions_cover_two_thousandths_to_five_hundredths_and_some_images_are_empty() -> None:
    shares = [float((p.mask > 0).mean()) for p in phantoms(PhantomSettings(40, 256, seed=1))]
    drawn = [share for share in shares if share]
    assert 0 < len(shares) - len(drawn) < 15
    assert 0.002 <= min(drawn) and max(drawn) <= 0.05


def test_bits_alternate_and_sizes_vary() -> None:
    settings = PhantomSettings(6, seed=2)
    found = [phantom(settings, index) for index in range(6)]
    assert [item.image.dtype for item in found] == [np.uint8, np.uint16] * 3
    assert all(item.image.shape[0] in SIZES for item in found)
    assert len({item.image.shape for item in found}) > 2


def test_otsu_inside_the_organ_stays_under_six_tenths() -> None:
    scores = []
    for item in phantoms(PhantomSettings(20, 512, seed=9, empty_fraction=0.0)):
        image = (item.image // (257 if item.image.dtype == np.uint16 else 1)).astype(np.uint8)
        level, _ = cv2.threshold(image[item.organ][:, None], 0, 255, cv2.THRESH_OTSU)
        guesses = [(image > level) & item.organ, (image <= level) & item.organ]
        scores.append(max(dice(guess.astype(np.uint8), item.mask, 1) for guess in guesses))
    assert np.mean(scores) < 0.6


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_written_set_is_read_back_with_its_classes(tmp_path: Path, classes: int) -> None:
    settings = PhantomSettings(5, 128, seed=4, classes=classes, empty_fraction=0.0)
    written = {item.stem: item for item in write_phantoms(tmp_path, settings)}
    dataset = load_dataset(tmp_path)
    assert dataset.classes == classes
    for stem, item in written.items():
        assert np.array_equal(dataset.image(stem), item.image)
        assert np.array_equal(dataset.mask(stem), item.mask)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"size": 7}, {"classes": 4}, {"bits": 12}])
def test_settings_out_of_range_are_named(wrong: dict[str, int]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(SettingsError, match=rf"--{name} is {value}; expected"):
        PhantomSettings(**{"count": 1, **wrong})


def test_a_folder_with_other_images_is_left_alone(tmp_path: Path) -> None:
    command = ("phantom", tmp_path, "--count", 2, "--size", 128)
    assert run(*command).exception is None
    assert run(*command).exception is None  # the same images once more
    (tmp_path / "images" / "mine.png").write_bytes(b"")
    before = (tmp_path / "train.txt").read_text()
    assert "holds 1 other images already" in str(run(*command).exception)
    assert "holds 3 other images" in str(run(*command, "--seed", 1).exception)
    assert (tmp_path / "train.txt").read_text() == before
