"""Tell DICOM and NIfTI from other files, by content; their libraries load when one is met."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.dicom import Dicom, read_dicom
from foveate.runtime.io.formats.nifti import HEAD, Nifti, is_nifti, read_nifti
from foveate.runtime.io.formats.once_per_file import once_per_file

Volume = Dicom | Nifti
DICOM_SUFFIXES = (".dcm", ".dicom")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
SUFFIXES = DICOM_SUFFIXES + NIFTI_SUFFIXES
_MARK, _MARK_AT = b"DICM", 128
_GZIP = b"\x1f\x8b"


def is_volume(file: BinaryIO) -> bool:
    """Say whether an open file begins as a volume does, and go back to its start."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    return begins_volume(head)


def begins_volume(head: bytes) -> bool:
    """Say whether the first bytes of a file are those of DICOM, NIfTI or gzip."""
    return head.startswith(_GZIP) or is_nifti(head) or _is_dicom(head)


@once_per_file(16)
def volume_of(file: BinaryIO) -> Volume:
    """Return the header of an open file for which ``is_volume`` holds.

    ImageError where its library is not installed, or names what is wrong with the file.
    """
    file.seek(0)
    head = file.read(HEAD)
    if _is_dicom(head):
        return read_dicom(file)
    zipped = head.startswith(_GZIP)
    file.seek(0)
    if zipped:
        try:
            head = gzip.GzipFile(fileobj=file).read(HEAD)
        except (OSError, EOFError, zlib.error) as error:
            raise ImageError("is damaged: it is not a whole gzip file") from error
    return read_nifti(head, zipped)


@contextmanager
def buffered(file: BinaryIO) -> Iterator[BinaryIO]:
    """Read an open file in blocks; the libraries read a few bytes at a time."""
    if not isinstance(file, io.FileIO):
        yield file
        return
    reader = io.BufferedReader(file)
    try:
        yield reader
    finally:
        reader.detach()


def frame_count(path: Path) -> int:
    """Return the frames or slices of a file; 1 as well where it cannot be read as a volume.

    What is wrong with such a file is said when it is read.
    """
    try:
        if not path.is_file():
            return 1
        with io.FileIO(path) as file:
            return volume_of(file).frames if is_volume(file) else 1
    except (OSError, ImageError):
        return 1


def is_unnamed_dicom(path: Path) -> bool:
    """Say whether a file without a suffix, or named like a UID, has the mark of DICOM."""
    name = path.name
    if not (path.suffix in ("", ".") or path.suffix[1:].isdigit()) or name.startswith("."):
        return False
    if name.upper() == "DICOMDIR":
        return False
    try:
        if not path.is_file():
            return False
        with io.FileIO(path) as file:
            return _is_dicom(file.read(HEAD))
    except OSError:
        return False


def _is_dicom(head: bytes) -> bool:
    """Say whether a file begins as DICOM; before its mark anything may be, the mark of TIFF too."""
    return head[_MARK_AT : _MARK_AT + 4] == _MARK
