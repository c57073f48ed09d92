"""DICOM and NIfTI that give no mask, made without the libraries that read them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

from tests.bad.case import Case, Place
from tests.bad.images import holding, image

IMAGE, STRUCTURES = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.3"
JPEG_2000, DEFLATED, PLAIN = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.1",
)


def _element(group: int, number: int, kind: bytes, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        value = struct.pack("<H", value)
    if isinstance(value, str):
        value = value.encode()
    value += b"\0" * (len(value) % 2) if kind == b"UI" else b" " * (len(value) % 2)
    size = struct.pack("<HI", 0, len(value)) if kind == b"OW" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + size + value


def dicom_of(colours: str = "MONOCHROME2", side: int = 4, bits: int = 16, kind: str = IMAGE,
             syntax: str = PLAIN, signed: int = 0, more: bytes = b"") -> bytes:  # fmt: skip
    """Return DICOM of 4x4 pixels, but for what its header says."""
    meta = _element(2, 0x10, b"UI", syntax)
    data = _element(8, 0x16, b"UI", kind) + more
    if kind == IMAGE:
        data += _element(0x28, 2, b"US", 1) + _element(0x28, 4, b"CS", colours)
        data += _element(0x28, 0x10, b"US", side) + _element(0x28, 0x11, b"US", side)
        data += _element(0x28, 0x100, b"US", bits) + _element(0x28, 0x101, b"US", bits)
        data += _element(0x28, 0x102, b"US", bits - 1) + _element(0x28, 0x103, b"US", signed)
        data += _element(0x7FE0, 0x10, b"OW", bytes(range(32)))
    return bytes(128) + b"DICM" + meta + data


def nifti_of(
    shape: tuple[int, ...] = (4, 4), kind: int = 4, data: bytes = bytes(range(32))
) -> bytes:
    """Return NIfTI-1 of 4x4 signed values of 16 bits, but for what its header says."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", header, 70, kind, 16)
    struct.pack_into("<8f", header, 76, *[1] * 8)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return bytes(header) + data


def without(library: str, module: str, name: str, data: bytes) -> Case:
    """Return the case of a file whose library is not installed."""
    extra = module.rpartition(".")[2]
    case = holding(
        f"{extra} without {library}",
        f"reading it needs {library}: pip install 'foveate[{extra}]'",
        name,
        data,
    )

    def make(place: Place) -> list[object]:
        place.patch.setattr(f"{module}.find_spec", lambda name: None)
        return case.make(place)

    return Case(case.given, case.said, case.code, make)


def _bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(nifti_of() + bytes(10_000_000)))


_FORMATS = "foveate.runtime.io.formats"

VOLUMES = [
    without("pydicom", f"{_FORMATS}.dicom", "d.dcm", dicom_of()),
    without("nibabel", f"{_FORMATS}.nifti", "n.nii", nifti_of()),
    holding("DICOM of colours",
            'has pixels of 1 samples, "RGB"; expected grey, MONOCHROME1 or MONOCHROME2. …', "d.dcm",
            dicom_of("RGB")),
    holding("DICOM that is not an image",
            "is not an image but DICOM of another kind: RT Structure Set Storage", "d.dcm",
            dicom_of(kind=STRUCTURES)),
    holding("signed or rescaled DICOM without any window",
            "has int16 values from 256 to 7966; expected … --window 256,7966 …", "d.dcm",
            dicom_of(signed=1)),
    holding("DICOM that promises 60000x60000", "is 60000x60000 pixels; the limits are …", "d.dcm",
            dicom_of(side=60_000)),
    holding("DICOM cut short", "is damaged: its header is sound, its pixels cannot be decoded",
            "d.dcm", dicom_of()[:-9]),
    holding("DICOM that is deflated as a whole",
            "is deflated as a whole; expected DICOM whose pixels alone are compressed", "d.dcm",
            dicom_of(syntax=DEFLATED)),
    holding("DICOM of bits that are not pixels",
            "has 1 bits in 1, the highest 0 (CT Image Storage); …", "d.dcm", dicom_of(bits=1)),
    holding("DICOM of a broken header", "is damaged: its DICOM header makes no sense", "d.dcm",
            bytes(128) + b"DICM" + bytes(40)),
    holding("signed, float or scaled NIfTI without --window",
            "has int16 values from 256 to 7966; expected … --window 256,7966 …", "n.nii",
            nifti_of()),
    holding("NIfTI of four axes", "has the shape (4, 4, 2, 5); expected a slice or a stack …",
            "n.nii", nifti_of((4, 4, 2, 5))),
    holding("NIfTI of 4 GB", "has 4 slices, 7200000000 bytes in all from byte 352 on; …", "n.nii",
            nifti_of((30_000, 30_000, 4))),
    holding("NIfTI cut short", "is cut short: its end is missing. Copy it again", "n.nii",
            nifti_of()[:-2]),
    image("a gzip bomb named .nii.gz", "inflates to more than the 384 bytes of its header. …",
          "n.nii.gz", _bomb),
    holding("gzip of something else", "is gzip, but not of a NIfTI file; …", "n.nii.gz",
            gzip.compress(b"text")),
]  # fmt: skip
