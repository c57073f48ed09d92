"""Colour and channels in training: what is read, what the views hold, and how they are changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from foveate.runtime.errors import DataError, SettingsError
from foveate.runtime.spec import (
    GREY,
    IMAGENET_MEAN,
    IMAGENET_STD,
    RGB,
    CascadeSpec,
    Normalisation,
    Region,
    Size,
)
from foveate.train.advice import colour_note
from foveate.train.data.augment import augment_below, augmentation
from foveate.train.data.dataset import DataSet, load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.full_views import FullCrops, WholeAtOwnSize
from foveate.train.data.phantom import PhantomSettings, phantoms, write_phantoms
from foveate.train.data.survey import survey
from foveate.train.data.tile_views import TileCrops
from foveate.train.data.views import RegionCrops, Regions, ViewSource, WholeImages, whole_views
from foveate.train.settings.settings import PRESETS, Settings
from tests.train.data.test_augment import card

SPEC = CascadeSpec(
    "uint16", Size(48, 64), Size(64, 32), ("background", "lesion"), Normalisation(), Region()
)
FEW = PhantomSettings(6, 160, seed=3, channels=RGB, empty_fraction=0)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coloured")
    list(write_phantoms(root, FEW))
    return root


def items_of(dataset: DataSet, spec: CascadeSpec, augment: str) -> list[np.ndarray]:
    """Return inputs of every kind of training view; those of stage 2 without the hint."""
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, spec.stage1, lambda done, total: None)
    changes = augmentation(Settings(augmentation=augment, channels=dataset.channels))
    source = ViewSource(full, views, dataset.stems, spec, changes, 0)
    answer = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    box = {stem: [(20.0, 30.0, 110.0, 90.0)] for stem in dataset.stems}
    regions = Regions({stem: [answer.astype(np.float16)] for stem in dataset.stems}, box, {})
    tiled = replace(source, spec=replace(spec, region=Region("tiles")))
    answers = {stem: [torch.from_numpy(answer)] for stem in dataset.stems}
    single = replace(spec, stage2=None, region=Region("none"), pad_multiple=32)
    stage1 = [WholeImages(source), FullCrops(replace(source, spec=single))]
    stage2 = [RegionCrops(source, regions), TileCrops(tiled, answers)]
    own = WholeAtOwnSize(full, dataset.stems, single)
    found = [items[index][0] for items in (*stage1, own) for index in range(6)]
    found += [items[index][0][:-1] for items in stage2 for index in range(6)]
    return [item.numpy() for item in found]


def test_every_channel_of_a_view_is_the_view_of_that_channel_alone(
    coloured: Path, tmp_path: Path
) -> None:
    """Geometry, statistics and the draws of the views are those of three grey data sets."""
    together = items_of(load_dataset(coloured, channels=RGB), SPEC, "none")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").symlink_to(coloured / "masks")
    for channel in range(3):
        for path in (coloured / "images").iterdir():
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, 2 - channel]
            cv2.imwrite(str(tmp_path / "images" / path.name), pixels)
        alone = items_of(load_dataset(tmp_path), SPEC, "none")
        for view, plane in zip(together, alone, strict=True):
            assert view.shape == (3, *plane.shape[1:])
            np.testing.assert_allclose(view[channel], plane[0], atol=1e-4)


def test_files_of_many_channels_are_read_and_others_refused(tmp_path: Path) -> None:
    """Four channels as NPY, one of them a fiftieth as bright: each has noise of its own scale."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    image, layers = card(64, 64)
    scales = np.float32((1, 0.02, 0.5, 0.25))
    mask = (layers[:, :, 3] * 255).astype(np.uint8)
    for stem in ("a", "b"):
        pixels = np.rint(image[:, :, None] * scales * 65535).astype(np.uint16)
        np.save(tmp_path / "images" / f"{stem}.npy", pixels)
        cv2.imwrite(str(tmp_path / "masks" / f"{stem}.png"), mask)
    dataset = load_dataset(tmp_path, channels="4")
    views = whole_views(FullImages(dataset), dataset.stems, Size(32, 32), lambda *_: None)
    assert np.ravel(views["a"].top).tolist() == [1, 1 / 32, 0.5, 0.25]
    assert views["a"].image.shape == (4, 32, 32)
    assert dataset.contents["a"].nbytes == 64 * 64 * (4 * 2 + 1)
    with pytest.raises(DataError, match=r"a\.npy: .*4 channels; expected 5"):
        load_dataset(tmp_path, channels="5")


def test_imagenet_normalises_by_its_colours(coloured: Path) -> None:
    dataset = load_dataset(coloured, channels=RGB)
    plain = replace(SPEC, normalisation=Normalisation("constants", 0.0, 1.0))
    by_colours = replace(SPEC, normalisation=Normalisation("imagenet"), channels=RGB)
    mean, deviation = (np.array(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    pairs = zip(
        items_of(dataset, plain, "none"), items_of(dataset, by_colours, "none"), strict=True
    )
    for number, (view, normal) in enumerate(pairs):
        inside = slice(None) if number > 17 else np.s_[:, :48, :64]
        np.testing.assert_allclose(normal[inside], (view[inside] - mean) / deviation, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("channels", [RGB, "2", "3", "5", "32"])
def test_channels_move_with_the_mask_and_keep_their_range(name: str, channels: str) -> None:
    """Layers move as those of a grey image do by the same seed, and no channel leaves [0, 1]."""
    image, layers = card(64, 64)
    layers = layers.astype(np.float32)
    count = 3 if channels == RGB else int(channels)
    shares = np.linspace(1, 0.5, count, dtype=np.float32)
    grey = augmentation(Settings(augmentation=name))
    augment = augmentation(Settings(augmentation=name, channels=channels))
    for seed in range(12):
        view, moved = augment(image[:, :, None] * shares, layers, seed)
        assert view.shape == (64, 64, count) and 0 <= view.min() and view.max() <= 1
        np.testing.assert_array_equal(moved, grey(image, layers, seed)[1])


def test_brightness_and_gamma_act_on_all_channels_alike() -> None:
    image, layers = card(64, 64)
    alike = np.repeat(image[:, :, None], 4, axis=2)
    augment = augmentation(Settings(augmentation="light", channels="4", brightness_contrast=0.5))
    changed = 0
    for seed in range(12):
        view, moved = augment(alike, layers.astype(np.float32), seed)
        assert np.ptp(view, axis=2).max() < 1e-6
        changed += bool(np.abs(view[:, :, 0] - moved[:, :, 0]).max() > 0.01)
    assert changed > 3


@pytest.mark.parametrize(("channels", "turns"), [(RGB, True), ("3", False)])
def test_hue_and_saturation_change_in_colour_images_alone(channels: str, turns: bool) -> None:
    """Noise apart, three channels that are no colours keep their ratios."""
    flat = np.ones((64, 64, 1), np.float32) * np.float32((0.3, 0.5, 0.4))
    settings = Settings(augmentation="standard", channels=channels, brightness_contrast=0)
    augment = augmentation(settings)
    hues = []
    for seed in range(30):
        red, green, blue = np.log(augment(flat, flat, seed)[0].mean(axis=(0, 1)))
        hues.append((red - blue) / (green - blue))  # the same after gamma
    assert (np.ptp(hues) > 0.1) == turns


def test_a_dim_channel_is_not_drowned_in_noise() -> None:
    """One channel in fifty is as bright: noise in proportion to each, and none for colours."""
    image, layers = card(64, 64)
    planes = np.stack([image, image / 50])
    augment = augmentation(Settings(augmentation="standard", channels="2"))
    dataset_top = np.float32([1, 1 / 32])[:, None, None]
    for seed in range(12):
        view, moved = augment_below(dataset_top, augment, planes, layers.transpose(2, 0, 1), seed)
        both = np.corrcoef(view[1].ravel(), moved[0].ravel())[0, 1]
        assert both > 0.9


GREY_MEANS = {
    "none": (0.43449, 0.43449),
    "light": (0.49239, 0.43293),
    "standard": (0.4525, 0.4147),
    "medical": (0.51468, 0.3977),
    "industrial": (0.51168, 0.39246),
}


@pytest.mark.parametrize("name", PRESETS)
def test_grey_views_are_what_they_were_before_there_were_colours(name: str) -> None:
    """The same draws in the same order: means of the views of some seeds."""
    image, layers = card(64, 64)
    augment = augmentation(Settings(augmentation=name))
    means = [float(augment(image, layers.astype(np.float32), seed)[0].mean()) for seed in (1, 3)]
    assert means == pytest.approx(GREY_MEANS[name], abs=1e-4)


def test_lesions_of_colour_phantoms_differ_in_hue_alone() -> None:
    """A threshold of the grey tells lesion from organ no better than chance; the red does."""
    grey_areas, hue_areas = [], []
    for item in phantoms(replace(FEW, count=20, size=256, bits=8)):
        grey = cv2.cvtColor(item.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        lesion = item.mask > 0
        near = cv2.dilate(item.mask, np.ones((15, 15), np.uint8)) > 0
        around = near & ~lesion & item.organ
        red = item.image[:, :, 0].astype(np.float32) - grey
        for plane, areas in ((grey, grey_areas), (red, hue_areas)):
            above = plane[lesion][:, None] > plane[around][None, ::7]
            areas.append(float(above.mean()))
    assert abs(np.mean(grey_areas) - 0.5) < 0.05 and min(hue_areas) > 0.9


def test_colours_that_grey_would_lose_are_noted(coloured: Path, tmp_path: Path) -> None:
    found = survey(load_dataset(coloured))
    assert (found.coloured, found.checked) == (6, 6)
    assert "6 of 6 images looked at are in colour; they are read as grey" in colour_note(found)[0]
    assert not colour_note(survey(load_dataset(coloured, channels=RGB)))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").symlink_to(coloured / "masks")
    for path in (coloured / "images").iterdir():  # grey, but stored as colours
        cv2.imwrite(str(tmp_path / "images" / path.name), np.full((160, 160, 3), 90, np.uint8))
    assert survey(load_dataset(tmp_path)).coloured == 0


@pytest.mark.parametrize("wrong", ["1", "33", "RGB", "bgr", ""])
def test_other_channels_are_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="expected grey, rgb, or 2 to 32"):
        Settings(channels=wrong)
    assert Settings(channels=4).channels == "4"  # a number in TOML
    with pytest.raises(SettingsError, match="imagenet goes with channels=rgb"):
        Settings(channels=GREY, normalisation="imagenet")
