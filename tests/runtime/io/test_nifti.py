"""NIfTI: slices as a DICOM viewer shows them, scaled and windowed; masks of the same geometry."""
# ruff: noqa: E402

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import image_in_memory, read_image
from foveate.runtime.io.inputs import find_items
from foveate.runtime.io.window import Window
from tests.conftest import run

AXIAL = np.array([[-0.5, 0, 0, 10], [0, 0.7, 0, -5], [0, 0, 2, 1], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 3, 4], [-0.7, 0, 0, 20], [0, 0.5, 0, -9], [0, 0, 0, 1]])
TILTED = np.array([[0.1, 0, -3, 4], [0.7, 0.2, 0, 20], [0, -0.5, 0.3, -9], [0, 0, 0, 1]])
BRIGHT = np.zeros((40, 30, 4), np.int16)
BRIGHT[5:20, 12:18, 1:3] = 300
BRIGHT[14:20, 4:18, 2] = 300
WINDOW = Window(-500, 1500)


def save(path: Path, values: np.ndarray, affine: np.ndarray = AXIAL, kind: int = 1) -> Path:
    image = (nibabel.Nifti1Image, nibabel.Nifti2Image)[kind - 1](values, affine)
    image.header.set_slope_inter(2, -100)
    image.header["descrip"] = b"Doe^Jane"
    nibabel.save(image, path)
    return path


def as_a_viewer_shows(path: Path) -> np.ndarray:
    """Return the values with the first axes to the left, posterior and inferior, rows first."""
    image = nibabel.load(path)
    codes = nibabel.aff2axcodes(image.affine, ("LR", "PA", "IS"))  # named by where they come from
    values = image.get_fdata()
    for axis, code in enumerate(codes[:2]):
        values = np.flip(values, axis) if code in "RAS" else values
    across = "LRPAIS".index(codes[0]) // 2 < "LRPAIS".index(codes[1]) // 2
    return values.transpose(1, 0, 2) if across else values


@pytest.mark.parametrize("affine", [AXIAL, SAGITTAL, TILTED, np.diag([1.0, 1, 1, 1])])
@pytest.mark.parametrize(("name", "kind"), [("a.nii", 1), ("a.nii.gz", 1), ("a.nii.gz", 2)])
@pytest.mark.parametrize("type_", [">i2", "f4", "u1", "i4"])
def test_slices_are_those_of_nibabel(
    tmp_path: Path, affine: np.ndarray, name: str, kind: int, type_: str
) -> None:
    values = np.random.default_rng(0).integers(0, 250, BRIGHT.shape).astype(type_)
    path = save(tmp_path / name, values, affine, kind)
    items = find_items([str(tmp_path)], tmp_path / "out")
    assert [one.name for one in items] == ["a.p1", "a.p2", "a.p3", "a.p4"]
    shown = as_a_viewer_shows(path)
    for item in items:
        found = read_image(item.path, item.page, window=WINDOW)
        np.testing.assert_array_equal(found, WINDOW.apply(shown[:, :, item.page - 1]))
        header = read_header(item.path, item.page)
        assert (header.height, header.width) == found.shape
    np.testing.assert_array_equal(image_in_memory(path.read_bytes(), 4, window=WINDOW), found)


def test_plain_values_need_no_window_and_others_name_one(tmp_path: Path) -> None:
    for kind in ("u1", "u2", ">u2"):
        values = np.arange(63).reshape(9, 7, 1).astype(kind)
        nibabel.save(nibabel.Nifti1Image(values, AXIAL), tmp_path / "a.nii")
        found = read_image(tmp_path / "a.nii")
        np.testing.assert_array_equal(found, values[:, ::-1, 0].T)
        assert found.dtype.itemsize == values.dtype.itemsize
    save(tmp_path / "b.nii", BRIGHT)
    with pytest.raises(ImageError, match="page 2 has int16 values.*--window -100,500 "):
        read_image(tmp_path / "b.nii", 2)
    with pytest.raises(ImageError, match="has 4 pages"):
        read_image(tmp_path / "b.nii")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("affine", [AXIAL, SAGITTAL, TILTED])
def test_the_mask_is_a_volume_of_the_same_geometry(
    tmp_path: Path, thresholds: Path, name: str, affine: np.ndarray
) -> None:
    (tmp_path / "in").mkdir()
    path = save(tmp_path / "in" / name, BRIGHT[..., None], affine)
    out = tmp_path / "out"
    call = ("segment", thresholds, path, "--out", out, "--window", "-100,500")
    done = run(*call)
    assert done.return_value == 0, done.output
    mask, image = nibabel.load(out / "scan.nii.gz"), nibabel.load(path)
    assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert mask.header[code] == image.header[code]
    np.testing.assert_array_equal(np.asarray(mask.dataobj), BRIGHT[..., None] > 0)
    assert b"Doe" not in gzip.decompress((out / "scan.nii.gz").read_bytes())
    (out / "scan.nii.gz").unlink()
    (out / "scan.p3.png").unlink()
    assert run(*call, "--resume").return_value == 0
    np.testing.assert_array_equal(nibabel.load(out / "scan.nii.gz").dataobj, mask.dataobj)


def test_a_volume_of_which_a_slice_fails_has_no_mask(tmp_path: Path, thresholds: Path) -> None:
    values = BRIGHT.astype(np.float32)
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    call = ("segment", thresholds, tmp_path / "in", "--out", out, "--window", "0,300")
    nibabel.save(nibabel.Nifti1Image(values, AXIAL), tmp_path / "in" / "a.nii")
    assert run(*call).return_value == 0 and (out / "a.nii.gz").exists()
    values[0, 0, 2] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, AXIAL), tmp_path / "in" / "a.nii")
    assert run(*call).return_value == 1 and not (out / "a.nii.gz").exists()


def test_shards_have_whole_volumes(tmp_path: Path, thresholds: Path) -> None:
    for name in "abcd":
        save(tmp_path / f"{name}.nii", BRIGHT)
    out = tmp_path / "out"
    call = ("segment", thresholds, *sorted(tmp_path.glob("*.nii")), "--out", out)
    for part in (1, 2, 3):
        assert run(*call, "--window", "-100,500", "--shard", f"{part}/3").return_value == 0
    assert len(list(out.glob("*.nii.gz"))) == 4


def changed(**fields: object) -> bytes:
    """Return a file of one slice with other values in its header."""
    image = nibabel.Nifti1Image(BRIGHT[:, :, 1], AXIAL)
    data = image.to_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[348:]


BOMB = gzip.compress(changed() + bytes(10_000_000))


@pytest.mark.parametrize(("data", "said"), [
    (changed(dim=[3, 30_000, 30_000, 2, 1, 1, 1, 1]), "has 2 slices, 3600000000 bytes in all"),
    (changed(dim=[2, 30_000, 30_000, 1, 1, 1, 1, 1]), "is 30000x30000 pixels; the limits"),
    (changed(dim=[3, 1, 1, 20_000, 1, 1, 1, 1]), "has 20000 slices"),
    (changed(dim=[4, 40, 30, 1, 5, 1, 1, 1]), r"has the shape \(40, 30, 1, 5\); expected"),
    (changed(dim=[1, 9, 1, 1, 1, 1, 1, 1]), r"has the shape \(9,\); expected"),
    (changed(dim=[3, 40, -7, 1, 1, 1, 1, 1]), r"has the shape \(40, -7, 1\); expected"),
    (changed(datatype=128, bitpix=24), "has voxels of"),
    (changed(datatype=32, bitpix=64), "has voxels of complex64"),
    (changed(datatype=77), "its NIfTI header makes no sense"),
    (changed(magic=b"ni1"), "is half of a .hdr and .img pair"),
    (changed()[:-2], "is cut short"),
    (gzip.compress(changed())[:-60], "is (cut short|damaged)"),
    (gzip.compress(changed())[:-8] + bytes(8), "is damaged"),
    (gzip.compress(changed(dim=[2, 20_000, 20_000, 1, 1, 1, 1, 1])), "is cut short"),
    (gzip.compress(b"text"), "is gzip, but not of a NIfTI file"),
    (BOMB, "inflates to more than the 2752 bytes"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=said):
        read_image(path, window=WINDOW)
    assert len(find_items([str(path)], tmp_path / "out")) in (1, 2)
