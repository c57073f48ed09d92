"""Augmentation: presets, what moves with the image and what does not, and images of few bits."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.spec import CascadeSpec, Normalisation, Size
from foveate.train.data.augment import augment_below, augmentation
from foveate.train.data.dataset import load_dataset
from foveate.train.data.full_images import FullImages
from foveate.train.data.full_views import FullCrops
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.data.views import ViewSource, WholeImages, whole_views
from foveate.train.settings.settings import PRESETS, Settings, load_settings
from tests.train.data.test_full_views import SPEC as FULL_SPEC


def card(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth image and six layers: shares, the first of them the image itself."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), 5)
    image = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    return image, np.stack([image, *(image > share for share in (0.3, 0.4, 0.5, 0.6, 0.7))], axis=2)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", [(96, 96), (64, 128)])
def test_layers_stay_shares_and_a_seed_gives_the_same_view(
    name: str, shape: tuple[int, int]
) -> None:
    augment = augmentation(load_settings(None, [f"augmentation={name}"]))
    image, layers = card(*shape)
    layers = layers.astype(np.float32)
    views = [augment(image, layers, seed) for seed in range(25)]
    for view, moved in views:
        assert view.shape == image.shape and moved.shape == layers.shape
        assert view.min() >= 0 and view.max() <= 1 and moved.min() >= 0 and moved.max() <= 1
    again = augment(image, layers, 7)
    np.testing.assert_array_equal(again[0], views[7][0])
    np.testing.assert_array_equal(again[1], views[7][1])
    changed = [not np.array_equal(view, image) for view, _ in views]
    assert not any(changed) if name == "none" else sum(changed) > 12


@pytest.mark.parametrize("name", ["light", "standard", "medical", "industrial"])
def test_image_and_layers_move_alike(name: str) -> None:
    """The image as a layer of its own: brightness apart, it stays the image."""
    augment = augmentation(load_settings(None, [f"augmentation={name}", "brightness_contrast=0"]))
    image, layers = card(128, 128)
    moved = 0
    for seed in range(20):
        view, shares = augment(image, layers.astype(np.float32), seed)
        smooth = cv2.GaussianBlur(view, (0, 0), 2), cv2.GaussianBlur(shares[:, :, 0], (0, 0), 2)
        assert np.corrcoef(smooth[0].ravel(), smooth[1].ravel())[0, 1] > 0.9
        moved += np.abs(shares[:, :, 0] - image).mean() > 0.02
    assert moved > 8


def test_the_presets_of_an_upright_world_turn_nothing_over() -> None:
    """A bright lower half stays the lower half, but for industrial views."""
    image = np.zeros((96, 96), np.float32)
    image[48:] = 1
    for name, over in (("medical", False), ("light", False), ("industrial", True)):
        augment = augmentation(load_settings(None, [f"augmentation={name}"]))
        views = [augment(image, image[:, :, None], seed)[1][:, :, 0] for seed in range(40)]
        assert any(view[:24].mean() > view[-24:].mean() for view in views) == over


def test_a_preset_sets_what_the_user_does_not() -> None:
    settings = load_settings(None, ["vertical_flip=0.25", "augmentation=medical"])
    assert (settings.vertical_flip, settings.rotate_degrees) == (0.25, 20.0)
    assert load_settings(None, ["augmentation=medical"]).vertical_flip == 0
    assert load_settings(None, []) == load_settings(None, ["augmentation=standard"]) == Settings()
    turned_off = load_settings(None, ["augmentation=industrial", "vertical_flip=0"])
    image = np.zeros((64, 64), np.float32)
    image[32:] = 1
    for seed in range(30):
        view = augmentation(turned_off)(image, image[:, :, None], seed)[1]
        assert view[:16].mean() < view[-16:].mean()


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same phantoms with 16 bits, and with 12 in 16-bit files."""
    root = tmp_path_factory.mktemp("bits")
    wide, narrow = root / "wide", root / "narrow"
    list(write_phantoms(wide, PhantomSettings(4, 160, seed=2, bits=16, empty_fraction=0)))
    list(write_phantoms(narrow, PhantomSettings(4, 160, seed=2, bits=16, empty_fraction=0)))
    for path in (narrow / "images").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) >> 4)
    return wide, narrow


@pytest.mark.parametrize("name", ["standard", "medical", "industrial"])
def test_twelve_bits_in_sixteen_are_trained_like_sixteen(
    twins: tuple[Path, Path], name: str
) -> None:
    """Normalised views are the same but for the four bits: noise and brightness in proportion."""
    augment = augmentation(load_settings(None, [f"augmentation={name}"]))
    spec = CascadeSpec("uint16", Size(64, 64), Size(64, 64), ("background", "lesion"))
    found = []
    for root in twins:
        dataset = load_dataset(root)
        full = FullImages(dataset)
        views = whole_views(full, dataset.stems, spec.stage1, lambda done, total: None)
        whole = WholeImages(ViewSource(full, views, dataset.stems, spec, augment, 0))
        crops = FullCrops(ViewSource(full, views, dataset.stems, FULL_SPEC, augment, 0))
        found.append([some[index][0].numpy() for some in (whole, crops) for index in range(12)])
        assert {np.asarray(view.top).item() for view in views.values()} == (
            {1.0} if root == twins[0] else {1 / 16}
        )
    for one, other in zip(*found, strict=True):
        assert np.abs(one - other).mean() < 0.04  # JPEG rounds to 256 steps


def test_no_variant_of_a_dark_image_is_black_or_white(
    twins: tuple[Path, Path], tmp_path: Path
) -> None:
    """Fluorescence of 8 bits that uses the lowest 32 values keeps its contrast."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").symlink_to(twins[0] / "masks")
    for path in (twins[0] / "images").iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) >> 11
        cv2.imwrite(str(tmp_path / "images" / path.name), image.astype(np.uint8))
    dataset = load_dataset(tmp_path)
    full = FullImages(dataset)
    spec = CascadeSpec("uint8", Size(64, 64), None, ("background", "lesion"))
    views = whole_views(full, dataset.stems, spec.stage1, lambda done, total: None)
    source = ViewSource(full, views, dataset.stems, spec, augmentation(Settings()), 0)
    items = WholeImages(source)
    contrast = [float(items[index][0].std()) for index in range(48)]
    assert 0.5 < min(contrast) and max(contrast) < 2


def test_views_can_be_sent_to_a_process_that_is_not_forked(twins: tuple[Path, Path]) -> None:
    spec = CascadeSpec("uint16", Size(64, 64), Size(64, 64), ("background", "lesion"))
    dataset = load_dataset(twins[0])
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, spec.stage1, lambda done, total: None)
    augment = augmentation(Settings(augmentation="medical"))
    for kind, own in ((WholeImages, spec), (FullCrops, FULL_SPEC)):
        here = kind(ViewSource(full, views, dataset.stems, own, augment, 0))
        there = pickle.loads(bytes(ForkingPickler.dumps(here)))
        for one, other in zip(here[5], there[5], strict=True):
            np.testing.assert_array_equal(one, other)


def test_pixels_above_the_rest_keep_their_height() -> None:
    """A spark of a thousand times the image's brightness is not cut off, and moves with it."""
    image = np.full((64, 64), 0.02, np.float32)
    image[20:24, 40:44] = 0.9
    mirror = augmentation(load_settings(None, ["augmentation=none", "horizontal_flip=1"]))
    view, layers = augment_below(1 / 32, mirror, image[None], image[None], 0)
    np.testing.assert_allclose(view[0], image[:, ::-1], rtol=1e-6)
    assert layers.shape == (1, 64, 64)


def test_constants_of_few_bits_are_in_their_own_units(twins: tuple[Path, Path]) -> None:
    spec = CascadeSpec(
        "uint16",
        Size(64, 64),
        None,
        ("background", "lesion"),
        Normalisation("constants", 0.03, 0.01),
    )
    dataset = load_dataset(twins[1])
    full = FullImages(dataset)
    views = whole_views(full, dataset.stems, spec.stage1, lambda done, total: None)
    source = ViewSource(full, views, dataset.stems, spec, augmentation(Settings()), 0)
    items = WholeImages(source)
    assert max(float(items[index][0].abs().max()) for index in range(24)) < 5
