"""Write DICOM files with pydicom, as scanners do."""

# ruff: noqa: E402
from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    generate_uid,
)

_EMPTY = ("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
          "ReferringPhysicianName")  # fmt: skip
STUDY, SERIES, FRAME_OF_REFERENCE = (generate_uid() for _ in range(3))


def dicom(values: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **tags: Any) -> FileDataset:
    """Return a CT image of (H, W) or (frames, H, W) integers, all bits of their type used."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, SERIES
    data.FrameOfReferenceUID, data.Modality = FRAME_OF_REFERENCE, "CT"
    data.PatientName, data.PatientID = "Doe^Jane", "P-4711"
    for name in _EMPTY:
        setattr(data, name, "")
    data.SeriesNumber, data.InstanceNumber = 1, 1
    data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    data.PixelSpacing, data.SliceThickness = [0.5, 0.5], 2
    data.Rows, data.Columns = values.shape[-2:]
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = values.dtype.itemsize * 8
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.HighBit = data.BitsStored - 1
    _set_pixels(data, values, syntax)
    return data


def _set_pixels(data: FileDataset, values: np.ndarray, syntax: UID) -> None:
    if syntax in (JPEG2000Lossless, JPEGBaseline8Bit):
        frames = values if values.ndim == 3 else values[None]
        data.PixelData = encapsulate([_frame(frame, syntax) for frame in frames])
        data["PixelData"].is_undefined_length = True
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = syntax
        return
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW"
    if syntax.is_encapsulated:
        data.compress(syntax)
    data.file_meta.TransferSyntaxUID = syntax


def _frame(frame: np.ndarray, syntax: UID) -> bytes:
    buffer = io.BytesIO()
    if syntax == JPEGBaseline8Bit:
        Image.fromarray(frame).save(buffer, "JPEG")
    else:
        Image.fromarray(frame).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    return buffer.getvalue()


def write(path: Path, data: FileDataset) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def item(**tags: Any) -> Dataset:
    """Return an item of a sequence."""
    data = Dataset()
    for name, value in tags.items():
        setattr(data, name, value)
    return data
