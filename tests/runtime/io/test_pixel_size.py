"""The size of a pixel: as files state it, in results, in masks, in figures."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.formats.pixel_size import PixelSize
from tests.bad.images import encoded
from tests.conftest import run
from tests.runtime.io.test_kinds import chunk, exif, png_with

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
DEEP = GREY.astype(np.uint16) * 257
OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="..."><Image ID="Image:0"><Pixels '
    'PhysicalSizeX="0.25" PhysicalSizeY="0.5"{more} SizeX="8" SizeY="6"></Pixels></Image></OME>'
)


@pytest.mark.parametrize(("text", "width", "height", "shown"), [
    ("0.5um", 0.0005, 0.0005, "0.5um"),
    ("0.25x0.5mm", 0.25, 0.5, "0.25x0.5mm"),
    (" 12e1 nm ", 0.00012, 0.00012, "0.12um"),
    ("2x1 cm", 20, 10, "20x10mm"),
    ("0.7\u00b5m", 0.0007, 0.0007, "0.7um"),
])  # fmt: skip
def test_a_size_in_words(text: str, width: float, height: float, shown: str) -> None:
    size = PixelSize.parse(text)
    assert (size.width, size.height) == pytest.approx((width, height), rel=1e-12)
    assert str(size) == shown and str(PixelSize.parse(shown)) == shown


@pytest.mark.parametrize(
    "text", ["", "0.5", "um", "0um", "-1mm", "1in", "1x2x3mm", "1.2.3mm", "xmm"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(SettingsError, match="expected a length with nm, um, mm, cm or m"):
        PixelSize.parse(text)


def tiff(
    path: Path, description: str, unit: int, across: float, down: float, turned: int = 1
) -> Path:
    """Write a TIFF of two pages as Pillow does; the second has the resolution alone."""
    pages = []
    for text in (description, ""):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274], tags[296] = turned, unit
        tags[282], tags[283] = across, down
        if text:
            tags[270] = text
        pages.append(tags)
    first, second = (Image.fromarray(DEEP), Image.fromarray(GREY))
    second.encoderinfo = {"tiffinfo": pages[1]}
    first.save(path, save_all=True, append_images=[second], tiffinfo=pages[0])
    return path


@pytest.mark.parametrize(("description", "unit", "across", "down", "expected"), [
    ("", 3, 20_000, 20_000, "0.5um"),
    ("", 3, 40, 20, "0.25x0.5mm"),
    ("", 3, 100, 100, "0.1mm"),
    ("", 3, 28.35, 28.35, None),  # 72 dots per inch
    ("", 3, 118.11, 118.11, None),  # 300
    ("", 2, 50_800, 50_800, None),
    ("", 1, 2, 2, None),
    ("ImageJ=1.54f\nunit=micron\n", 1, 2, 4, "0.5x0.25um"),
    ("ImageJ=1.54f\nunit=\\u00B5m\n", 1, 2, 2, "0.5um"),
    ("ImageJ=1.54f\nunit=mm\nyunit=um\n", 1, 2, 2, None),
    ("ImageJ=1.54f\nunit=inch\n", 2, 300, 300, None),
    ("ImageJ=1.54f\nunit=pixel\n", 1, 2, 2, None),
    ("ImageJ=1.54f\nunit=cm\n", 3, 37.795, 37.795, None),
    ("ImageJ=1.54f\nunit=micron\n", 1, 0, 0, None),
    (OME.format(more=""), 3, 72, 72, "0.25x0.5um"),
    (OME.format(more=' PhysicalSizeXUnit="&#181;m" PhysicalSizeYUnit="nm"'), 1, 1, 1,
     "0.25x0.0005um"),
    (OME.format(more=' PhysicalSizeXUnit="pixel"'), 3, 20_000, 20_000, None),
    ('<OME><Pixels SizeX="8"/></OME>', 3, 20_000, 20_000, None),
    (OME.format(more="") + OME.format(more=' PhysicalSizeXUnit="nm"'), 1, 1, 1, None),
])  # fmt: skip
def test_a_tiff_states_its_size(
    tmp_path: Path, description: str, unit: int, across: float, down: float, expected: str | None
) -> None:
    path = tiff(tmp_path / "a.tif", description, unit, across, down)
    for page in (1, 2):
        size = read_header(path, page).pixel_size
        assert (str(size) if size else None) == expected


def test_a_size_is_turned_as_its_image(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", "", 3, 40, 20, turned=6)
    for page in (1, 2):
        assert str(read_header(path, page).pixel_size) == "0.5x0.25mm"
    png = png_file(tmp_path / "a.png", 4000, 2000, exif=exif(6))
    assert str(read_header(png).pixel_size) == "0.5x0.25mm"


def png_file(path: Path, across: int, down: int, unit: int = 1, **options: object) -> Path:
    phys = chunk(b"pHYs", struct.pack(">IIB", across, down, unit))
    path.write_bytes(png_with(encoded("PNG", Image.fromarray(GREY), **options), phys))
    return path


@pytest.mark.parametrize(("across", "down", "unit", "expected"), [
    (2_000_000, 2_000_000, 1, "0.5um"), (4000, 2000, 1, "0.25x0.5mm"), (4000, 2000, 0, None),
    (2835, 2835, 1, None), (3780, 3780, 1, None), (11811, 11811, 1, None), (0, 0, 1, None),
])  # fmt: skip
def test_a_png_states_its_size(
    tmp_path: Path, across: int, down: int, unit: int, expected: str | None
) -> None:
    size = read_header(png_file(tmp_path / "a.png", across, down, unit)).pixel_size
    assert (str(size) if size else None) == expected


def test_dicom_and_nifti_state_theirs(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    nibabel = pytest.importorskip("nibabel")
    from tests.runtime.io.dicoms import dicom, item, write

    path = write(tmp_path / "a.dcm", dicom(DEEP, PixelSpacing=[0.5, 0.25]))
    assert str(read_header(path).pixel_size) == "0.25x0.5mm"
    frames = dicom(np.stack([DEEP, DEEP]))
    del frames.PixelSpacing
    assert read_header(write(tmp_path / "b.dcm", frames), 1).pixel_size is None
    frames.PerFrameFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[item(PixelSpacing=[side, 1])]) for side in (2, 3)
    ]
    path = write(tmp_path / "b.dcm", frames)
    assert [str(read_header(path, page).pixel_size) for page in (1, 2)] == ["1x2mm", "1x3mm"]
    coronal = np.array([[0, 0.5, 0, 0], [0, 0, 2, 0], [0.25, 0, 0, 0], [0, 0, 0, 1]])
    for unit, expected in (("mm", "0.5x0.25mm"), ("micron", "0.5x0.25um"), ("unknown", None)):
        image = nibabel.Nifti1Image(GREY[:, :, None], coronal)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "a.nii")
        header = read_header(tmp_path / "a.nii")
        assert (header.height, header.width) == (6, 8)  # the first axis goes up, the second across
        assert (str(header.pixel_size) if header.pixel_size else None) == expected


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two bright squares with the size of their pixels, and one without; masks 8 pixels off."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for stem, size in {"a": "0.25x0.5mm", "b": "0.5mm", "c": ""}.items():
        square = np.zeros((64, 64), np.uint8)
        square[20:40, 20:40] = 255
        phys = [chunk(b"pHYs", PixelSize.parse(size).phys())] if size else []
        png = png_with(encoded("PNG", Image.fromarray(square)), *phys)
        (root / "images" / f"{stem}.png").write_bytes(png)
        Image.fromarray(np.roll(square, 8, axis=0)).save(root / "masks" / f"{stem}.png")
    return root


def test_a_size_in_results_and_masks(thresholds: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segment = ("segment", thresholds, images / "images", "--out", out)
    assert run(*segment).return_value == 0
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    sizes = {Path(line["input"]).stem: line.get("pixel_size_mm") for line in lines}
    assert sizes == {"a": [0.25, 0.5], "b": [0.5, 0.5], "c": None}
    for stem in "abc":
        with (
            Image.open(out / f"{stem}.png") as mask,
            Image.open(images / "images" / f"{stem}.png") as image,
        ):
            assert mask.info.get("dpi") == image.info.get("dpi")
    given = run(*segment, "--pixel-size", "2um")
    assert given.return_value == 0
    text = (out / "results.jsonl").read_text()
    assert text.count('"pixel_size_mm": [0.002, 0.002]') == 3
    assert str(read_header(out / "c.png").pixel_size) == "2um"
    assert "3 done before" in run(*segment, "--resume", "--pixel-size", "0.002mm").output
    with pytest.raises(SettingsError, match="pixel_size 2um, now 3um"):
        raise run(*segment, "--resume", "--pixel-size", "3um").exception or AssertionError
    with pytest.raises(SettingsError, match='pixel size is "3"'):
        raise run(*segment, "--pixel-size", "3").exception or AssertionError


def test_a_size_in_the_figures(thresholds: Path, images: Path, tmp_path: Path) -> None:
    evaluate = ("evaluate", thresholds, images, "--csv", tmp_path / "a.csv")
    assert "HD95 mm" not in run(*evaluate).output  # the size of one image is not known
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = {row["stem"]: row for row in csv.DictReader(file) if row["method"] == "cascade"}
    assert {row["hd95"] for row in rows.values()} == {"8.000000"}
    assert [rows[stem]["hd95_mm"] for stem in "abc"] == ["4.000000", "4.000000", ""]
    shown = run(*evaluate, "--pixel-size", "3x2um").output
    (line,) = [x for x in shown.splitlines() if x.startswith("cascade  bright")]
    assert "HD95 um" in shown and line.split()[-3:] == ["16.0", "3", "0"]
    values = json.loads(run(*evaluate, "--pixel-size", "3x2um", "--json").output)
    assert values["settings"]["pixel_size"] == "3x2um"
    assert values["figures"][0]["hd95_mm"]["value"] == pytest.approx(0.016)
