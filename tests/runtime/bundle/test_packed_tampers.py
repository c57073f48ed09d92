"""Tampers of a packed bundle by somebody who knows ZIP: everything but its one form is refused."""

from __future__ import annotations

import json
import stat
import struct
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.containers import MAX_ENTRIES, PackedFile, _entry, write_packed
from foveate.runtime.bundle.pack import pack
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import canonical_sha256

FILES = {"a": b"{}", "b": bytes(3), "c": b"content"}
HOSTILE_NAMES = (
    "../x", "/etc/passwd", "..", ".", "a/b", "a/", "a\\b", "x" * 300, "C:x", "ä", "\x1b[2J", " ",
)  # fmt: skip
LAST = 46 + len("c")
"""Bytes of the directory's last entry; behind it there are 22 of the end."""
Entries = list[tuple[ZipInfo, bytes]]


def contents(path: Path) -> dict[str, bytes]:
    packed = PackedFile(path)
    return {name: packed.read(name) for name in packed.names()}


def refused(path: Path) -> None:
    with pytest.raises(BundleError, match="is a ZIP, but not as foveate bundle pack writes it"):
        contents(path)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_packed(tmp_path / "x", FILES)
    assert contents(tmp_path / "x") == FILES
    return tmp_path / "x"


def rewrite(path: Path, entries: Sequence[tuple[ZipInfo, bytes]], note: bytes = b"") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name twice
        with ZipFile(path, "w") as archive:
            archive.comment = note
            for info, content in entries:
                archive.writestr(info, content)


def change(name: str, value: object) -> Callable[[Entries], object]:
    """Return an edit of how the second file is written."""
    return lambda entries: setattr(entries[1][0], name, value)


ENTRIES: dict[str, Callable[[Entries], object]] = {
    "compressed": change("compress_type", ZIP_DEFLATED),
    "a bomb": lambda entries: (
        change("compress_type", ZIP_DEFLATED)(entries),
        entries.__setitem__(1, (entries[1][0], bytes(16 << 20))),
    ),
    "a link": change("external_attr", (stat.S_IFLNK | 0o777) << 16),
    "another time": change("date_time", (1981, 1, 1, 0, 0, 0)),
    "an extra field": change("extra", struct.pack("<HHL", 0x7001, 4, 0)),
    "a note on a file": change("comment", b"note"),
    "a name twice": lambda entries: entries.insert(1, (_entry("a"), b"[]")),
    "another order": lambda entries: entries.reverse(),
    "too many": lambda entries: entries.extend((_entry(f"z{n:04d}"), b"") for n in range(3000)),
    "nothing": lambda entries: entries.clear(),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_another_entry(packed: Path, kind: str) -> None:
    entries = [(_entry(name), content) for name, content in FILES.items()]
    ENTRIES[kind](entries)
    rewrite(packed, entries)
    refused(packed)


def test_a_note_on_all(packed: Path) -> None:
    rewrite(packed, [(_entry("a"), b"{}")], b"note")
    with pytest.raises(BundleError, match="is not a packed bundle"):
        contents(packed)


def start_of(data: bytes | bytearray) -> int:
    """Return where the directory begins."""
    return int(struct.unpack_from("<L", data, len(data) - 6)[0])


def between(data: bytearray) -> None:
    """Put something between the files and the directory, whose place is made right again."""
    start = start_of(data)
    data[start:start] = b"gap"
    struct.pack_into("<L", data, len(data) - 6, start + 3)


def zip64(data: bytearray) -> None:
    """Add the end of a ZIP64 that points to another directory."""
    start, end = start_of(data), len(data) - 22
    far = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - start, start)
    data[end:end] = far + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)


def zip64_inside(data: bytearray) -> None:
    """Let it lie inside what the end calls the directory."""
    zip64(data)
    struct.pack_into("<L", data, len(data) - 10, len(data) - 22 - start_of(data))


def field(place: int, form: str, value: int) -> Callable[[bytearray], object]:
    """Return an edit of a field of the last entry of the directory."""
    return lambda data: struct.pack_into(form, data, len(data) - 22 - LAST + place, value)


def encrypted(data: bytearray) -> None:
    """Say so in the directory and in the file's own header."""
    field(8, "<H", 1)(data)
    header = struct.unpack_from("<L", data, len(data) - 22 - LAST + 42)[0]
    struct.pack_into("<H", data, header + 6, 1)


BYTES: dict[str, Callable[[bytearray], object]] = {
    "a size of 4 GB": field(24, "<L", 2**32 - 1),
    "both sizes too large": lambda data: (
        field(20, "<L", 10**6)(data),
        field(24, "<L", 10**6)(data),
    ),
    "an overlap": field(42, "<L", 0),
    "a place in the midst of a file": field(42, "<L", 20),
    "encrypted": encrypted,
    "something before": lambda data: data.__setitem__(slice(0, 0), b"#!/bin/sh\n"),
    "another end behind": lambda data: data.extend(data[-22:]),
    "something between": between,
    "ZIP64": zip64,
    "ZIP64 inside the directory": zip64_inside,
}


@pytest.mark.parametrize("kind", BYTES)
def test_other_bytes(packed: Path, kind: str) -> None:
    data = bytearray(packed.read_bytes())
    BYTES[kind](data)
    packed.write_bytes(data)
    refused(packed)


def test_every_byte_around_the_contents_counts(packed: Path) -> None:
    """With a bit turned over it is refused; in a content that shows, and the sha256 finds it."""
    sound, changed = packed.read_bytes(), 0
    for place in range(len(sound)):
        data = bytearray(sound)
        data[place] ^= 1 << place % 8
        packed.write_bytes(data)
        try:
            found = contents(packed)
        except BundleError:
            continue
        assert found != FILES and set(found) == set(FILES), place
        changed += 1
    assert changed == sum(map(len, FILES.values()))


def test_cut_or_no_zip(packed: Path) -> None:
    sound = packed.read_bytes()
    for data in (b"", b"PK", sound[:-1], sound[:30], sound + b"x"):
        packed.write_bytes(data)
        with pytest.raises(BundleError, match="is not a packed bundle, or is cut short"):
            contents(packed)


@pytest.mark.parametrize("listed", [False, True])
def test_a_name_that_leaves_the_folder(thresholds: Path, tmp_path: Path, listed: bool) -> None:
    path = tmp_path / "x.foveate"
    pack(open_bundle(thresholds), path)
    own = contents(path)
    for name in HOSTILE_NAMES:
        manifest = json.loads(own["manifest.json"])
        if listed:
            del manifest["manifest_sha256"]
            manifest["files"][name] = {"sha256": sha256(b"x").hexdigest()}
            manifest["manifest_sha256"] = canonical_sha256(manifest)
        files = {**own, "manifest.json": json.dumps(manifest).encode(), name: b"x"}
        rewrite(path, [(_entry(name), files[name]) for name in sorted(files)])
        with pytest.raises(BundleError, match="x.foveate"):
            open_bundle(path)


def test_too_many_files_are_not_packed(tmp_path: Path) -> None:
    files = {f"f{number:03d}": b"" for number in range(MAX_ENTRIES)}
    write_packed(tmp_path / "x", files)
    assert PackedFile(tmp_path / "x").names() == set(files)
    with pytest.raises(BundleError, match="at most 2 GiB in 64"):
        write_packed(tmp_path / "y", files | {"more": b""})
    assert not (tmp_path / "y").exists()
