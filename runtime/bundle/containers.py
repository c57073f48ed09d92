"""Read a bundle from a folder, or from one file: a ZIP of one form only, read where it lies.

In a folder links are refused, and what the manifest does not list is left alone. In a packed file
nothing is compressed, names go in order, and every byte but the contents follows from names, sizes
and checksums. So whatever differs from that is refused: nothing unfolds to more than the file has,
nothing overlaps, no name comes twice, no entry is a link, and nothing is ever written to a disk.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import check_size

if TYPE_CHECKING:
    from zipfile import ZipInfo

MAX_BYTES = (1 << 31) - 1
"""Most bytes of one file of a bundle: the limit of a packed bundle, and of an ONNX file."""
MAX_ENTRIES = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644 << 16
_END = struct.Struct("<4s4H2LH")
"""Mark, two numbers of disks, two of entries, size and start of the directory, length of a note."""
_END64 = b"PK\x06\x07"
_END64_BYTES = 20
_HEAD_BYTES, _ENTRY_BYTES = 30, 46
"""Of a file and of its entry in the directory, without its name."""
_MOST_DIRECTORY = MAX_ENTRIES * (_ENTRY_BYTES + 100)
"""Bytes of a directory of the longest names that a bundle's files may have."""
_FIXED = (
    "compress_type", "flag_bits", "date_time", "extra", "comment", "create_system",
    "create_version", "extract_version", "reserved", "volume", "internal_attr", "external_attr",
)  # fmt: skip


@dataclass(frozen=True)
class BundleFolder:
    """The files of a bundle's folder."""

    path: Path

    def names(self) -> set[str]:
        """Return the names of all that lies in the folder."""
        return {path.name for path in self.path.iterdir()}

    def size(self, name: str) -> int:
        """Return the bytes of a file. BundleError where it is missing or is not a plain file."""
        path = self.path / name
        try:
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise BundleError(f"{path}: is a link or a folder; expected a plain file")
            return path.stat().st_size
        except OSError as error:
            raise self._unreadable(name, error) from error

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Return the content of a file of at most so many bytes. BundleError as for ``size``."""
        path, size = self.path / name, self.size(name)
        check_size(path, size, most)
        try:
            with path.open("rb") as file:
                content = file.read(size + 1)  # one more: it may be growing
        except OSError as error:
            raise self._unreadable(name, error) from error
        check_size(path, len(content), most)
        return content

    def _unreadable(self, name: str, error: OSError) -> BundleError:
        return BundleError(
            f"{self.path / name}: cannot be read: {error.strerror}; expected a bundle made by "
            "foveate export"
        )


class PackedFile:
    """The files of a packed bundle. No file stays open between two calls.

    Raises BundleError for a file that ``write_packed`` would not have written.
    """

    def __init__(self, path: Path) -> None:
        from zipfile import BadZipFile, ZipFile  # 14 ms; a folder can do without

        self.path = path
        try:
            with path.open("rb") as file:
                start, directory = _directory(path, file)
                with ZipFile(file) as archive:
                    found = archive.infolist()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        except (BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise _other_form(path, str(error)) from error
        problem = _problem(found, start, directory)
        if problem:
            raise _other_form(path, problem)
        self._entries = {info.filename: info for info in found}

    def names(self) -> set[str]:
        """Return the names of all files in it."""
        return set(self._entries)

    def size(self, name: str) -> int:
        """Return the bytes of a file. BundleError where there is none of that name."""
        if name not in self._entries:
            raise BundleError(f"{self.path / name}: is not in the packed bundle; pack it again")
        return self._entries[name].file_size

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Return the content of a file of at most so many bytes. BundleError as for ``size``."""
        size, info = self.size(name), self._entries[name]
        check_size(self.path / name, size, most)
        head = info.FileHeader(False)
        try:
            with self.path.open("rb") as file:
                file.seek(info.header_offset)
                found = file.read(len(head) + size)
        except OSError as error:
            raise BundleError(f"{self.path}: cannot be read: {error.strerror}") from error
        if found[: len(head)] != head or len(found) != len(head) + size:
            raise _other_form(self.path, f"{name} does not begin as its directory says")
        return found[len(head) :]


def write_packed(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a packed bundle, whole or not at all: the same names and contents, the same bytes.

    BundleError where it would have more than 2 GiB or 64 files. Raises OSError.
    """
    from zipfile import ZipFile

    size = sum(map(len, files.values()))
    if size > MAX_BYTES - (1 << 16) or len(files) > MAX_ENTRIES:
        raise BundleError(
            f"{path}: would have {size} bytes in {len(files)} files; a packed bundle has at most "
            f"2 GiB in {MAX_ENTRIES}. Keep it as a folder"
        )

    def write(file: IO[bytes]) -> None:
        with ZipFile(file, "w", allowZip64=False) as archive:
            for name in sorted(files):
                archive.writestr(_entry(name), files[name])

    write_atomically(path, write)


def _entry(name: str) -> ZipInfo:
    """Return an entry as all of a packed bundle are, but for its size, checksum and place."""
    from zipfile import ZipInfo

    info = ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = 3, _PLAIN_FILE
    return info


def _directory(path: Path, file: IO[bytes]) -> tuple[int, bytes]:
    """Return where the directory begins, and its bytes; BundleError for another end of the file."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - _END64_BYTES))
    tail = file.read()
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\x05\x06"):
        raise BundleError(
            f"{path}: is not a packed bundle, or is cut short; expected a folder with "
            "manifest.json, or a file of foveate bundle pack"
        )
    _, disk, first_disk, here, count, length, start, note = _END.unpack(tail[-_END.size :])
    if disk or first_disk or note or here != count or start + length + _END.size != size:
        raise _other_form(path, "its end is different")
    small = 0 < count <= MAX_ENTRIES and length <= _MOST_DIRECTORY and start <= MAX_BYTES
    if not small or tail.startswith(_END64):
        raise _other_form(path, "it is empty, or too large")
    file.seek(start)
    return int(start), file.read(length)


def _problem(found: list[ZipInfo], start: int, directory: bytes) -> str:
    """Return what is not as ``write_packed`` does it, in words, or "" where all is."""
    place, at, before = 0, 0, ""
    for info in found:
        name, expected = info.orig_filename, _entry("x")
        for attribute in _FIXED:
            if getattr(info, attribute) != getattr(expected, attribute):
                return f"{name[:60]!r} has a different {attribute}"
        if name != info.filename or name <= before:
            return f"{name[:60]!r} appears twice, or out of order"
        if info.compress_size != info.file_size or info.header_offset != place:
            return f"{name[:60]!r} is not where it should be"
        if directory[at + 28 : at + 34] != struct.pack("<3H", len(name), 0, 0):
            return f"{name[:60]!r} has a different length in the directory"
        place += _HEAD_BYTES + len(name) + info.file_size
        at += _ENTRY_BYTES + len(name)
        before = name
    whole = (place, at) == (start, len(directory))
    return "" if whole else "there is something between its files and its end"


def _other_form(path: Path, why: str) -> BundleError:
    return BundleError(
        f"{path}: is a ZIP, but not as foveate bundle pack writes it: {why}. Pack it again"
    )
