"""What is written of an image: read back by other programs, whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import SettingsError
from foveate.runtime.geometry import paste_weights
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.io.outputs import OUTPUT_KINDS, OutputSettings, write_outputs
from foveate.runtime.io.png import encode_mask
from foveate.runtime.io.probability import probability_picture
from foveate.runtime.result import Result
from tests.drawing import ellipse, small_spec

BOX = np.array([[10, 20, 74, 84]], np.float32)
GREY = np.zeros((90, 101), np.uint8)


def result_of(classes: int) -> Result:
    """A result of 90 x 101 pixels that shows every class; probabilities are smooth noise."""
    mask = (ellipse(90, 101) * (1 + np.arange(101) % classes)).astype(np.uint8)
    noise = np.random.default_rng(classes).random((classes + 1, 64, 32)).astype(np.float32)
    refined = noise[:1] if classes == 1 else noise / noise.sum(axis=0)
    return Result(mask, BOX, 0.875, refined, refined)


def pillow(path: Path) -> npt.NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (7, 8), (50, 129)])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 16, 17, 256])
def test_every_depth_of_a_mask_reads_back(tmp_path: Path, classes: int, shape: Any) -> None:
    mask = np.random.default_rng(0).integers(0, classes, shape).astype(np.uint8)
    (tmp_path / "m.png").write_bytes(encode_mask(mask, classes))
    np.testing.assert_array_equal(pillow(tmp_path / "m.png"), mask)
    if classes == 2:
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "m.png"), 0), mask * 255)
    else:
        assert cv2.imread(str(tmp_path / "m.png")).shape == (*shape, 3)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in OUTPUT_KINDS if kind != "dicom-seg"])
def test_the_files_are_those_named_and_so_are_their_hashes(
    tmp_path: Path, kind: str, classes: int
) -> None:
    settings = OutputSettings(kind, overlay=True, probability=True)
    spec, name = small_spec(classes=classes), "sub/deep er/scan.jpg"
    written = write_outputs(settings, tmp_path, name, GREY, result_of(classes), spec)
    assert tuple(written) == settings.names(name)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path).as_posix() for path in found} == set(written)
    for file, sha256 in written.items():
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == sha256
    again = write_outputs(settings, tmp_path, name, GREY, result_of(classes), spec)
    assert again == written


def test_names_are_those_of_the_documentation() -> None:
    assert OutputSettings().names("a") == ("a.png",)
    assert OutputSettings("npz", True, True).names("sub/a.jpg") == (
        "sub/a.jpg.npz", "overlays/sub/a.jpg.jpg", "probability/sub/a.jpg.png"
    )  # fmt: skip
    assert OutputSettings("coco").names("a") == ("a.coco.json",)
    assert OutputSettings("labelme").names("sub/a") == ("labelme/sub/a.json",)


@pytest.mark.parametrize("names", [["scan", "probability/scan"], ["sub/A", "sub/a"]])
def test_two_images_that_would_share_a_file_are_refused(names: list[str]) -> None:
    with pytest.raises(SettingsError, match="would both be written to"):
        OutputSettings(probability=True).check_distinct(names)
    OutputSettings(probability=True).check_distinct([names[0], f"{names[1]}.tif"])


@pytest.mark.parametrize("classes", [1, 2])
def test_an_archive_loads_without_pickle(tmp_path: Path, classes: int) -> None:
    result, spec = result_of(classes), small_spec(classes=classes)
    write_outputs(OutputSettings("npz", probability=True), tmp_path, "a", GREY, result, spec)
    write_outputs(OutputSettings("npz"), tmp_path, "b", GREY, result, spec)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        for name in ("mask", "box_xyxy", "coarse", "refined"):
            np.testing.assert_array_equal(found[name], getattr(result, name))
            assert found[name].dtype == getattr(result, name).dtype
        assert found["score"] == 0.875 and tuple(found["classes"]) == spec.classes
    with np.load(tmp_path / "b.npz", allow_pickle=False) as found:
        assert set(found.files) == {"mask", "box_xyxy", "score", "classes"}


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingsError, match='as "bmp"; expected png, npz, coco'):
        OutputSettings("bmp").check()
    without = (
        "import sys, pathlib\n"
        "from foveate.runtime.io.output_settings import OutputSettings\n"
        "from foveate.runtime.errors import SettingsError\n"
        "sys.path[:] = [p for p in sys.path if not (pathlib.Path(p) / 'pycocotools').is_dir()]\n"
        "try: OutputSettings('coco').check()\n"
        "except SettingsError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)
    assert "pip install 'foveate[coco]'" in done.stdout


@pytest.mark.parametrize("classes", [1, 2])
def test_the_probability_is_that_of_any_foreground(tmp_path: Path, classes: int) -> None:
    result, spec = result_of(classes), small_spec(classes=classes)
    assert result.refined is not None
    rows, columns = paste_weights(20, 84, 90, 64), paste_weights(10, 74, 101, 32)
    foreground = (result.refined if classes == 1 else result.refined[1:]).sum(axis=0)
    expected = rows @ foreground @ columns.T
    write_outputs(OutputSettings(probability=True), tmp_path, "s/a", GREY, result, spec)
    found = cv2.imread(str(tmp_path / "probability/s/a.png"), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint8 and found.shape == (90, 101)
    np.testing.assert_array_equal(found, pillow(tmp_path / "probability/s/a.png"))
    assert np.abs(found / 255 - expected).max() <= 0.5 / 255 + 1e-5
    assert found[19].max() == 0 and found[:, 9].max() == 0 and found[20:84, 10:74].min() > 0


def test_the_probability_over_the_threshold_is_the_mask(bundle: Path, data: Path) -> None:
    with Cascade.load(bundle) as cascade:
        threshold = 255 * cascade.spec.mask_threshold
        differing = shared = 0
        for path in image_paths(data / "images"):
            result = cascade(read_image(path), probabilities=True)
            picture = probability_picture(result, cascade.spec)
            over = picture > threshold
            near = np.abs(picture - threshold) <= 1
            np.testing.assert_array_equal((over != result.mask) & ~near, False)
            differing += int((over != result.mask).sum())
            shared += int((over & (result.mask > 0)).sum())
    # a threshold that is no half of a count decides otherwise where a count is rounded over it
    assert shared > 1000 and 2 * shared / (2 * shared + differing) >= 0.99


def test_what_cannot_be_encoded_leaves_nothing(tmp_path: Path) -> None:
    no_probabilities = replace(result_of(1), refined=None)
    settings = OutputSettings(overlay=True, probability=True)
    with pytest.raises(ValueError, match="has no probabilities"):
        write_outputs(settings, tmp_path, "sub/a", GREY, no_probabilities, small_spec())
    assert not list(tmp_path.iterdir())


def test_a_mask_is_there_only_when_its_companions_are(tmp_path: Path) -> None:
    (tmp_path / "overlays").write_text("in the way")
    with pytest.raises(OSError, match="overlays"):
        write_outputs(OutputSettings(overlay=True), tmp_path, "a", GREY, result_of(1), small_spec())
    assert [path.name for path in tmp_path.iterdir()] == ["overlays"]
