"""DICOM: the pixels that pydicom gives, windowed; what is not grey is refused; SEG of the masks."""

# ruff: noqa: E402
from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("gdcm")

from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.images import image_in_memory, read_image
from foveate.runtime.io.inputs import find_items
from foveate.runtime.io.window import Window
from tests.conftest import run
from tests.runtime.io.dicoms import dicom, item, write

SMOOTH = np.add.outer(np.arange(24) * 40, np.arange(32) * 90)  # 0 to 3710


def by_library(path: Path, page: int) -> np.ndarray:
    """What pydicom's own rescale and window make of a file, from 0 to 1."""
    data = pydicom.dcmread(path)
    values = data.pixel_array[page - 1] if page else data.pixel_array
    shown = apply_windowing(apply_modality_lut(values, data), data).astype(np.float64)
    slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
    least = -(1 << data.BitsStored - 1) if data.PixelRepresentation else 0
    low = least * slope + intercept
    return (shown - low) / (((1 << data.BitsStored) - 1) * slope)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless,
                                    JPEGLSLossless, JPEG2000Lossless])  # fmt: skip
def test_pixels_are_those_of_pydicom(tmp_path: Path, syntax: UID, function: str) -> None:
    kinds: list[tuple[np.ndarray, dict[str, Any]]] = [
        ((SMOOTH // 16).astype(np.uint8), {}),
        (SMOOTH.astype(np.uint16), {"BitsStored": 12, "RescaleIntercept": -1024}),
        (np.stack([SMOOTH, SMOOTH[::-1]]).astype(np.uint16), {"RescaleSlope": 0.5}),
        ((SMOOTH - 2000).astype(np.int16), {"RescaleSlope": 2, "RescaleIntercept": 100}),
    ]
    for number, (values, more) in enumerate(kinds):
        if syntax == JPEG2000Lossless and values.dtype.kind == "i":
            continue  # Pillow writes no signed ones
        tags = {"RescaleSlope": 1, "RescaleIntercept": 0, "VOILUTFunction": function} | more
        data = dicom(values, syntax, WindowCenter=[60, 900], WindowWidth=[111, 9], **tags)
        path = write(tmp_path / f"{number}.dcm", data)
        for page in (1, 2) if values.ndim == 3 else (0,):
            found = read_image(path, page)
            assert found.dtype == (np.uint8 if number == 0 else np.uint16)
            expected = by_library(path, page) * np.iinfo(found.dtype).max
            np.testing.assert_allclose(found, expected, atol=0.51)
            np.testing.assert_array_equal(image_in_memory(path.read_bytes(), page), found)


def test_lossy_jpeg_and_twelve_bits_without_a_window(tmp_path: Path) -> None:
    values = (SMOOTH // 16).astype(np.uint8)
    path = write(tmp_path / "a.dcm", dicom(values, JPEGBaseline8Bit))
    np.testing.assert_array_equal(read_image(path), pydicom.dcmread(path).pixel_array)
    deep = write(tmp_path / "b.dcm", dicom(SMOOTH.astype(np.uint16), BitsStored=12))
    np.testing.assert_array_equal(read_image(deep), SMOOTH << 4)


def by_gdcm(path: Path, syntax: str) -> Path:
    """Return a copy of a file as GDCM compresses it."""
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    copy = path.with_name(f"{syntax}.dcm")
    writer.SetFileName(str(copy))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return copy


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1",
                                    "JPEGLSLossless", "JPEG2000Lossless"])  # fmt: skip
def test_what_gdcm_compresses_without_loss(tmp_path: Path, syntax: str) -> None:
    deep = (SMOOTH * 17).astype(np.uint16)
    kinds: list[tuple[np.ndarray, dict[str, Any]]] = [
        ((SMOOTH // 16).astype(np.uint8), {}),
        (SMOOTH.astype(np.uint16), {"BitsStored": 12}),
        (np.stack([deep, deep[::-1]]), {}),
        ((SMOOTH - 2000).astype(np.int16), {}),
    ]
    for number, (values, more) in enumerate(kinds):
        plain = write(tmp_path / f"{number}.dcm", dicom(values, **more))
        packed = by_gdcm(plain, syntax)
        assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID.is_compressed
        window = Window(-2000, 1800) if values.dtype.kind == "i" else None
        for page in (1, 2) if values.ndim == 3 else (0,):
            found = read_image(packed, page, window=window)
            np.testing.assert_array_equal(found, read_image(plain, page, window=window))


def test_jpeg_ls_with_loss(tmp_path: Path) -> None:
    data = dicom(SMOOTH.astype(np.uint16))
    data.compress(JPEGLSNearLossless, jls_error=3)
    found = read_image(write(tmp_path / "a.dcm", data))
    np.testing.assert_array_equal(found, data.pixel_array)
    assert 0 < np.abs(found.astype(int) - SMOOTH).max() <= 3


def test_frames_that_are_filled_up_with_ones(tmp_path: Path) -> None:
    data = dicom((SMOOTH // 16).astype(np.uint8), JPEGBaseline8Bit)
    expected = read_image(write(tmp_path / "a.dcm", data))
    frame = get_frame(data.PixelData, 0, number_of_frames=1)
    data.PixelData = encapsulate([frame.rstrip(b"\0") + b"\xff"])
    np.testing.assert_array_equal(read_image(write(tmp_path / "b.dcm", data)), expected)


def test_monochrome1_is_turned_over(tmp_path: Path) -> None:
    deep, window = SMOOTH.astype(np.uint16), {"WindowCenter": 500, "WindowWidth": 700}
    for more in ({}, window, {"RescaleSlope": -2}, {"BitsStored": 12}):
        tags = window | more if "RescaleSlope" in more else more
        found = [
            read_image(
                write(tmp_path / "a.dcm", dicom(deep, **tags, PhotometricInterpretation=kind))
            )
            for kind in ("MONOCHROME1", "MONOCHROME2")
        ]
        white = 4095 << 4 if "BitsStored" in more else 65535
        np.testing.assert_array_equal(found[0].astype(int) + found[1], white)


def test_a_given_window_comes_before_that_of_the_file(tmp_path: Path) -> None:
    values = (SMOOTH - 1000).astype(np.int16)
    tags = {"WindowCenter": 0, "WindowWidth": 10, "RescaleSlope": 2, "RescaleIntercept": -24}
    path = write(tmp_path / "a.dcm", dicom(values, **tags))
    window = Window(-500, 1500)
    np.testing.assert_array_equal(read_image(path, window=window), window.apply(values * 2.0 - 24))
    bare = write(tmp_path / "b.dcm", dicom(values, RescaleSlope=2, RescaleIntercept=-24))
    with pytest.raises(ImageError, match="--window -2024,5396 "):
        read_image(bare)


def test_each_frame_of_an_enhanced_image_has_its_own_rescale_and_window(tmp_path: Path) -> None:
    frames = np.stack([SMOOTH, SMOOTH]).astype(np.uint16)
    data = dicom(frames)
    data.PerFrameFunctionalGroupsSequence = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=-100)])
        for slope in (1, 2)
    ]
    group = item(FrameVOILUTSequence=[item(WindowCenter=600, WindowWidth=1001)])
    data.SharedFunctionalGroupsSequence = [group]
    path = write(tmp_path / "a.dcm", data)
    window = Window(99.5, 1099.5)
    for page, slope in ((1, 1.0), (2, 2.0)):
        np.testing.assert_array_equal(read_image(path, page), window.apply(SMOOTH * slope - 100))


def test_signed_pixels_of_fewer_bits_than_their_word(tmp_path: Path) -> None:
    values = (SMOOTH - 2000).astype(np.int16)
    data = dicom(values.view(np.uint16) & 0x0FFF, BitsStored=12, PixelRepresentation=1)
    found = read_image(write(tmp_path / "a.dcm", data), window=Window(-2048, 2047))
    np.testing.assert_array_equal(found, Window(-2048, 2047).apply(values))


def test_files_of_a_folder_with_and_without_suffix(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    data = dicom(SMOOTH.astype(np.uint16))
    for name in ("a.dcm", "IM0001", "1.2.840.7", "DICOMDIR"):
        write(folder / name, data)
    write(folder / "frames", dicom(np.stack([SMOOTH, SMOOTH]).astype(np.uint16)))
    (folder / "README").write_text("no image" * 50)
    items = find_items([str(folder)], tmp_path / "out")
    names = ["1.2.840.7", "IM0001", "a", "frames.p1", "frames.p2"]
    assert [one.name for one in items] == names
    assert find_items([str(folder / "DICOMDIR")], tmp_path / "out")[0].page == 0


def test_the_mark_of_tiff_before_that_of_dicom(tmp_path: Path) -> None:
    data = dicom(SMOOTH.astype(np.uint16))
    data.preamble = b"II*\0" + b"\x54\1\0\0" + b"\0" * 120  # as scanners of one maker write
    found = read_image(write(tmp_path / "a.dcm", data))
    np.testing.assert_array_equal(found, SMOOTH)


@pytest.mark.parametrize(("tags", "said"), [
    ({"PhotometricInterpretation": "RGB"}, 'has pixels of 1 samples, "RGB"; expected grey'),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    ({"SamplesPerPixel": 3}, "has pixels of 3 samples"),
    ({"BitsAllocated": 1, "BitsStored": 1}, "has 1 bits in 1"),
    ({"NumberOfFrames": 10_001}, "has 10001 frames; the limit is 10000"),
    ({"Rows": 60_000, "Columns": 60_000}, "is 60000x60000 pixels; the limits are"),
    ({"Rows": 25}, "its pixels cannot be decoded"),
    ({"BitsStored": None}, "lacks BitsStored"),
    ({"Rows": None}, "lacks Rows"),
    ({"RescaleSlope": 0}, "is rescaled by 0.0"),
    ({"ModalityLUTSequence": [item()]}, "has a modality table"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    data = dicom(SMOOTH.astype(np.uint16))
    for name, value in tags.items():
        setattr(data, name, value)
    path = write(tmp_path / "a.dcm", data)
    with pytest.raises(ImageError) as raised:
        read_image(path)
    assert said in str(raised.value) and "Doe" not in str(raised.value)


def test_other_objects_and_syntaxes_are_refused_by_name(tmp_path: Path) -> None:
    data = dicom(SMOOTH.astype(np.uint16), SOPClassUID=UID("1.2.840.10008.5.1.4.1.1.481.3"))
    del data.Rows, data.Columns, data.PixelData
    with pytest.raises(ImageError, match="another kind: RT Structure Set Storage"):
        read_image(write(tmp_path / "a.dcm", data))
    data = dicom(SMOOTH.astype(np.uint16))
    del data.PixelData
    with pytest.raises(ImageError, match=r"has no pixels \(CT Image Storage\)"):
        read_image(write(tmp_path / "a.dcm", data))
    for syntax, said in ((MPEG2MPML, "is compressed as MPEG2"), (DeflatedExplicitVRLittleEndian,
                         "is deflated as a whole")):  # fmt: skip
        data = dicom(SMOOTH.astype(np.uint16), RLELossless)
        path = write(tmp_path / "b.dcm", data)
        old = b"1.2.840.10008.1.2.5\0"
        new = syntax.encode() + b"\0" * (len(syntax) % 2)
        place = path.read_bytes().index(old) - 2
        length = int.from_bytes(path.read_bytes()[140:144], "little") + len(new) - len(old)
        raw = bytearray(path.read_bytes().replace(old, new))
        raw[place : place + 2] = len(new).to_bytes(2, "little")
        raw[140:144] = length.to_bytes(4, "little")
        path.write_bytes(raw)
        with pytest.raises(ImageError, match=said):
            read_header(path)


def test_frames_of_another_size_than_their_header_are_refused(tmp_path: Path) -> None:
    for syntax in (JPEG2000Lossless, JPEGLSLossless):
        data = dicom(SMOOTH.astype(np.uint16), syntax)
        data.Rows = 12
        with pytest.raises(ImageError, match="frame of 32x24 pixels; its header said 32x12"):
            read_image(write(tmp_path / "a.dcm", data))
        path = write(tmp_path / "b.dcm", dicom(SMOOTH.astype(np.uint16), syntax))
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ImageError, match="is (cut short|damaged)"):
            read_image(path)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of three slices, the first of them empty, and a file of two frames."""
    folder = tmp_path / "in"
    folder.mkdir()
    bright = np.zeros((24, 32), np.uint16)
    bright[4:9, 20:30] = 4000
    for number, values in enumerate((bright * 0, bright, bright[::-1])):
        data = dicom(values, WindowCenter=2000, WindowWidth=4000, InstanceNumber=number + 1,
                     ImagePositionPatient=[0, 0, 2 * number])  # fmt: skip
        write(folder / f"IM{number}.dcm", data)
    frames = dicom(np.stack([bright, bright[:, ::-1]]), SeriesInstanceUID=generate_uid(),
                   SOPClassUID=EnhancedCTImageStorage,
                   WindowCenter=2000, WindowWidth=4000)  # fmt: skip
    frames.SharedFunctionalGroupsSequence = [item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.5], SliceThickness=2)],
    )]  # fmt: skip
    frames.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (0, 2)
    ]
    write(folder / "loop.dcm", frames)
    return folder


def test_a_seg_refers_to_its_images_and_holds_their_masks(
    tmp_path: Path, series: Path, thresholds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hd = pytest.importorskip("highdicom")
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "out"
    done = run("segment", thresholds, series, "--out", out, "--format", "dicom-seg")
    assert done.return_value == 0, done.output
    assert sorted(path.name for path in out.glob("*.dcm")) == ["IM0.seg.dcm", "loop.seg.dcm"]
    for name, inputs in {"IM0": ["IM0", "IM1", "IM2"], "loop": ["loop"]}.items():
        seg = hd.seg.segread(out / f"{name}.seg.dcm")
        images = [pydicom.dcmread(series / f"{one}.dcm") for one in inputs]
        assert seg.PatientID == "P-4711" and seg.StudyInstanceUID == images[0].StudyInstanceUID
        assert [one.segment_label for one in map(seg.get_segment_description, (1,))] == ["bright"]
        if name == "loop":
            found = seg.get_pixels_by_source_frame(images[0].SOPInstanceUID, [1, 2])
        else:
            uids = [image.SOPInstanceUID for image in images]
            found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
        pixels = np.concatenate([np.atleast_3d(one.pixel_array.T).T for one in images])
        np.testing.assert_array_equal(found[..., 0], pixels > 2000)
        assert found.any()
    said = done.output + caplog.text
    said += "".join(path.read_text() for path in out.glob("*.jsonl"))
    assert "Doe" not in said and "P-4711" not in said
    line = json.loads((out / "results.jsonl").read_text().splitlines()[0])
    assert line["mask"].endswith(".png")


def test_a_series_that_makes_no_seg_is_told(tmp_path: Path, series: Path, thresholds: Path) -> None:
    pytest.importorskip("highdicom")
    data = pydicom.dcmread(series / "IM1.dcm")
    del data.StudyInstanceUID
    data.SeriesInstanceUID = generate_uid()
    write(series / "IM9.dcm", data)
    out = tmp_path / "out"
    done = run("segment", thresholds, series, "--out", out, "--format", "dicom-seg")
    assert "no SEG could be made of 1 series, the first with" in str(done.exception)
    assert (out / "IM9.png").exists() and (out / "IM0.seg.dcm").exists()
