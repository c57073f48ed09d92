"""Training on volumes: each slice an image, with the slice of the mask that lies on it."""
# ruff: noqa: E402

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from foveate.runtime.errors import DataError
from foveate.runtime.io.window import Window
from foveate.train.data.dataset import load_dataset, read_stems, split_validation
from tests.conftest import train

AFFINE = np.array([[0, 0, 3, 4], [-0.7, 0, 0, 20], [0, 0.5, 0, -9], [0, 0, 0, 1.0]])


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Three volumes of four slices; a mask is where its image is over 100."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(3):
        values = rng.normal(0, 30, (24, 20, 4)).astype(np.float32)
        values[4:12, 3 + index : 9, :] += 500
        image = nibabel.Nifti1Image(values, AFFINE)
        nibabel.save(image, tmp_path / "images" / f"v{index}.nii.gz")
        kind = (np.uint8, np.float32, np.int16)[index]
        mask = nibabel.Nifti1Image((values > 100).astype(kind), AFFINE)
        nibabel.save(mask, tmp_path / "masks" / f"v{index}.nii")
    return tmp_path


def test_slices_and_masks_lie_on_each_other(volumes: Path) -> None:
    dataset = load_dataset(volumes, window=Window(0, 200))
    assert len(dataset.stems) == 12 and dataset.stems[:2] == ("v0.p1", "v0.p2")
    assert (dataset.classes, dataset.input_type) == (1, "uint16")
    for stem in dataset.stems:
        image, mask = dataset.image(stem), dataset.mask(stem)
        np.testing.assert_array_equal(mask == 1, image > 32768)
        assert mask.any() and dataset.contents[stem].areas[1] == mask.sum()
    assert {dataset.groups[stem] for stem in dataset.stems} == {"v0", "v1", "v2"}
    for seed in range(4):
        sides = split_validation(dataset, 0.3, seed)
        found = [{stem.split(".")[0] for stem in side} for side in sides]
        assert not found[0] & found[1] and all(found)


def test_lists_and_groups_name_volumes_or_slices(volumes: Path) -> None:
    (volumes / "list.txt").write_text("v1\nv2.p3\n")
    (volumes / "groups.tsv").write_text("v1\tone\nv2\ttwo\nv2.p3\tone\n")
    stems = read_stems(volumes / "list.txt")
    dataset = load_dataset(volumes, stems=stems, window=Window(0, 200))
    assert dataset.stems == ("v1.p1", "v1.p2", "v1.p3", "v1.p4", "v2.p3")
    assert {dataset.groups[stem] for stem in dataset.stems} == {"one"}
    assert dataset.groups["v2.p1"] == "two"


def test_what_a_volume_lacks_is_said(volumes: Path) -> None:
    with pytest.raises(DataError, match=r"v0.nii.gz: page 1 has float32 values .* --window"):
        load_dataset(volumes)
    path = volumes / "masks" / "v1.nii"
    nibabel.save(nibabel.Nifti1Image(np.full((24, 20, 4), 0.5), AFFINE), path)
    with pytest.raises(DataError, match="v1.nii page 1 has values that are not labels"):
        load_dataset(volumes, window=Window(0, 200))
    (volumes / "images" / "v2.p3.png").touch()
    with pytest.raises(DataError, match="more than one image for the stem v2.p3"):
        load_dataset(volumes, window=Window(0, 200))
    (volumes / "images" / "v2.p3.png").unlink()
    nibabel.save(nibabel.Nifti1Image(np.zeros((24, 20, 2), np.uint8), AFFINE), path)
    with pytest.raises(DataError, match="2 of 12 stems have no mask: v1.p3, v1.p4"):
        load_dataset(volumes, window=Window(0, 200))


def test_a_dicom_image_has_a_picture_for_a_mask(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    import cv2

    from tests.runtime.io.dicoms import dicom, write

    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    values = np.add.outer(np.arange(20), np.arange(30)).astype(np.int16) - 20
    for stem in ("a", "b"):
        write(tmp_path / "images" / f"{stem}.dcm", dicom(values, WindowCenter=0, WindowWidth=40))
        cv2.imwrite(str(tmp_path / "masks" / f"{stem}.png"), (values > 5).astype(np.uint8) * 255)
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.mask("a") == 1, values > 5)
    np.testing.assert_array_equal(
        dataset.image("a"), Window(-20, 19).apply(values.astype(np.float64))
    )
    (tmp_path / "masks" / "b.png").unlink()
    write(tmp_path / "masks" / "b.dcm", dicom(values.astype(np.uint16)))
    with pytest.raises(DataError, match="b.dcm is DICOM; expected a mask in a picture"):
        load_dataset(tmp_path)


def test_a_run_is_trained_on_volumes(volumes: Path, tmp_path: Path) -> None:
    more = ("--set", "window=0,200", "--set", "num_epochs=1", "--set", "class_names=x")
    done = train(volumes, tmp_path / "run", *more)
    assert done.exit_code == 0, done.output
