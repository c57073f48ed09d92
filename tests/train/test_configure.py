"""What is chosen from the data: measured on drawn masks, and by rule from the measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.train.advice import advice
from foveate.train.configure import configure
from foveate.train.data.dataset import load_dataset
from foveate.train.data.survey import Survey, survey
from foveate.train.runs.run import read_run
from foveate.train.settings.settings import Settings
from tests.conftest import run

SMALL_TARGETS = Survey(
    images=200, groups=200, height=1000, width=2000, box_share=0.02, box=(120, 300), parts=0.03,
    sides=(25.0, 40.0, 60.0), counts=(1, 2, 9), is_upright=False,
)  # fmt: skip


def write(root: Path, count: int, upright: bool) -> None:
    """Write images of 200 x 300 with two squares of 10 and 20 pixels; every fifth is empty."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir()
    for number in range(count):
        image = rng.integers(90, 110, (200, 300), np.uint8)
        mask = np.zeros_like(image)
        if upright:
            image[100:] += 50
        if number % 5:
            mask[40:50, 60:70] = mask[60:80, 100:120] = 255
        cv2.imwrite(str(root / "images" / f"{number}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{number}.png"), mask)


@pytest.mark.parametrize("upright", [True, False])
def test_sizes_targets_and_orientation_are_measured(tmp_path: Path, upright: bool) -> None:
    write(tmp_path, 20, upright)
    found = survey(load_dataset(tmp_path))
    assert (found.images, found.groups, found.height, found.width) == (20, 20, 200, 300)
    assert found.box == (40, 60) and found.box_share == pytest.approx(40 * 60 / 60_000)
    assert found.sides == pytest.approx((10, 15, 20)) and found.counts == (2, 2, 2)
    assert found.parts == 5 / 64  # 8 x 8 parts of 25 x 37.5 pixels
    assert found.is_upright == upright


def test_a_cascade_for_small_targets() -> None:
    found = configure(SMALL_TARGETS, {}, None, "balanced")
    settings = found.settings
    assert found.stages == "both"
    assert (settings.network, settings.encoder_weights) == ("efficientnet_lite0", "imagenet")
    height, width = settings.image_height, settings.image_width
    assert height * width <= 256**2 * 1.1 and width / height == pytest.approx(2, rel=0.2)
    assert 25 * height / 1000 == pytest.approx(6, rel=0.3)  # pixels a small target keeps
    assert settings.crop_height >= 120 and settings.crop_width >= 300
    assert settings.augmentation == "standard"
    assert "25 pixels wide, keeps" in found.choices[1].reason


def test_one_network_where_a_box_saves_nothing() -> None:
    for data, said in (
        (replace(SMALL_TARGETS, box_share=0.9), "is 90% of the image"),
        (replace(SMALL_TARGETS, height=200, width=300), "small enough for one network"),
    ):
        found = configure(data, {}, None, "balanced")
        assert (found.stages, found.settings.single_input) == ("single", "full")
        assert any(said in choice.reason for choice in found.choices)
        assert configure(data, {}, "both", "balanced").settings.single_input == "resized"


def test_a_budget_moves_the_sizes() -> None:
    views = []
    for budget in ("fast", "balanced", "best"):
        settings = configure(replace(SMALL_TARGETS, box=(400, 800)), {}, None, budget).settings
        views.append(settings.crop_height * settings.crop_width)
    assert views[0] < views[1] < views[2]


def test_what_is_given_stays_and_so_does_what_goes_with_it() -> None:
    given = {"image_height": 64, "image_width": 96, "depth": 3, "rotate_degrees": 0.0}
    found = configure(SMALL_TARGETS, given, None, "balanced")
    settings = found.settings
    assert (settings.image_height, settings.crop_size) == (64, (64, 96))
    assert settings.rotate_degrees == 0 and len(found.choices) == 2
    assert found.choices[1].words == (
        "crop_height=64, crop_width=96: as stage 1, whose size was set; by the targets it would be "
        "crop_height=160 crop_width=384"
    )
    network = (settings.network, settings.depth, settings.encoder_weights, settings.width)
    assert network == ("efficientnet_lite0", 3, "imagenet", 16)


def test_a_depth_that_the_pretrained_encoder_cannot_have_leaves_the_default_network() -> None:
    found = configure(SMALL_TARGETS, {"depth": "2", "width": "8"}, None, "balanced")
    settings = found.settings
    assert (settings.network, settings.depth, settings.width) == ("unet", 2, 8)
    assert found.choices[0].words == (
        "network=unet: efficientnet_lite0 with ImageNet weights would be chosen, but not for "
        "network efficientnet_lite0 with depth 2; expected depth 3 to 5"
    )
    assert not any(
        "network" in choice.values
        for choice in configure(SMALL_TARGETS, {"network": "unet"}, None, "fast").choices
    )


def test_few_images_validate_on_a_fourth_and_upright_ones_are_not_turned_over() -> None:
    few = replace(SMALL_TARGETS, images=10, is_upright=True)
    settings = configure(few, {}, None, "balanced").settings
    assert settings.val_fraction == 0.25
    assert (settings.augmentation, settings.vertical_flip) == ("medical", 0)


@pytest.mark.parametrize(("groups", "folds"), [(2, 0), (3, 2), (4, 3)])
def test_few_groups_are_enough_for_the_folds(groups: int, folds: int) -> None:
    data = replace(SMALL_TARGETS, groups=groups)
    assert configure(data, {}, None, "balanced").settings.hint_folds == folds
    short = configure(data, {"max_minutes": 2.0}, None, "balanced")
    assert short.settings.hint_folds == 0 and "2 minutes" in short.choices[-1].reason


def test_what_suits_the_data_is_said_of_sizes_set_by_hand() -> None:
    square, suited = Settings(image_height=256, image_width=256), Settings(region_mode="tiles")
    small = " ".join(advice(SMALL_TARGETS, square, "both", "balanced"))
    assert "1 to 9 in an image, median 2; a small one is 25 pixels wide" in small
    assert "a cascade with a box, since the box around all targets is 2% of the image" in small
    assert "2000 x 1000 pixels as 256 x 256: a small target keeps 4.5 of its 25 pixels" in small
    assert "image_height=192 and image_width=352 keep it" in small and "--stages" not in small
    spread = replace(SMALL_TARGETS, box_share=0.9, parts=0.4)
    said = " ".join(advice(spread, square, "both", "balanced"))
    assert "single" in said and "90% of the image" in said and "--stages single is a way" in said
    assert "--set region_mode=tiles" in said and "lie in 40% of an image's 64 parts" in said
    for settings, stages in ((suited, "both"), (square, "single")):
        assert "is set to a cascade" not in " ".join(advice(spread, settings, stages, "balanced"))


def test_the_choices_are_printed_and_kept_and_a_resumed_run_has_them(tmp_path: Path) -> None:
    write(tmp_path, 8, upright=True)
    out = tmp_path / "run"
    words = ["train", tmp_path, "--out", out, "--set", "width=4", "--set", "depth=2"]
    words += ["--set", "image_height=32", "--set", "image_width=32", "--set", "hint_folds=0"]
    done = run(*words, "--set", "num_epochs=1", "--set", "num_workers=0")
    assert done.exception is None, done.output
    line = "augmentation=medical: the images have a top and a bottom"
    assert f"  {line}" in done.output and line in read_run(out)["chosen"]
    assert "2 in an image, median 2" in done.output and "small enough for one" in done.output
    again = run("train", tmp_path, "--out", out, "--resume")
    assert again.exception is None, again.output
    assert f"{out} is finished: nothing is left to train." in again.output
    longer = run("train", tmp_path, "--out", out, "--resume", "--max-minutes", "20")
    assert "it is finished and cannot be trained on; train into a new folder" in str(
        longer.exception
    )
