"""Tampers of a packed bundle by somebody who knows ZIP: every one is to be refused.

The folder holds one packed bundle, ``x.foveate``. Every content is as its manifest says; it is the
ZIP around the contents that is another than ``foveate bundle pack`` writes.
"""

from __future__ import annotations

import io
import json
import stat
import struct
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import numpy as np

from foveate.runtime.bundle.containers import _entry
from foveate.runtime.json_files import canonical_sha256
from tests.runtime.bundle.tampering import Kind

NAME = "x.foveate"
HOSTILE_NAMES = (
    "../x", "/etc/passwd", "..", ".", "a/b", "a/", "a\\b", "x" * 300, "C:x", "ä", "\x1b[2J", " ",
)  # fmt: skip
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
Entry = tuple[ZipInfo, bytes]


def entries(folder: Path) -> list[Entry]:
    with ZipFile(folder / NAME) as archive:
        return [(_entry(name), archive.read(name)) for name in archive.namelist()]


def rewrite(folder: Path, found: Sequence[Entry], note: bytes = b"") -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name twice
        with ZipFile(folder / NAME, "w") as archive:
            archive.comment = note
            for info, content in found:
                archive.writestr(info, content)
    return {NAME}


def one_of(found: Sequence[Entry], rng: np.random.Generator) -> ZipInfo:
    return found[int(rng.integers(len(found)))][0]


def edited(edit: Callable[[ZipInfo, np.random.Generator], object]) -> Kind:
    """Return a kind that changes how one of the entries is written."""

    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        found = entries(folder)
        edit(one_of(found, rng), rng)
        return rewrite(folder, found)

    return kind


def compressed(info: ZipInfo, rng: np.random.Generator) -> None:
    info.compress_type = int(rng.choice([ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA]))


def a_link(info: ZipInfo, rng: np.random.Generator) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def another_time(info: ZipInfo, rng: np.random.Generator) -> None:
    info.date_time = (1981, 1, int(rng.integers(1, 28)), 0, 0, 0)


def extra(info: ZipInfo, rng: np.random.Generator) -> None:
    info.extra = struct.pack("<HH", int(rng.integers(0x7000, 0x8000)), 4) + rng.bytes(4)


def noted(info: ZipInfo, rng: np.random.Generator) -> None:
    info.comment = rng.bytes(4)


def hostile_name(folder: Path, rng: np.random.Generator) -> set[str]:
    """Add a file of a name that leaves the folder; the manifest lists it half of the time."""
    name, content = str(rng.choice(HOSTILE_NAMES)), b"x"
    found = [entry for entry in entries(folder) if entry[0].filename != "manifest.json"]
    manifest = json.loads(dict((i.filename, c) for i, c in entries(folder))["manifest.json"])
    if rng.random() < 0.5:
        del manifest["manifest_sha256"]
        manifest["files"][name] = {"sha256": sha256(content).hexdigest()}
        manifest["manifest_sha256"] = canonical_sha256(manifest)
    found += [(_entry("manifest.json"), json.dumps(manifest).encode()), (_entry(name), content)]
    return rewrite(folder, sorted(found, key=lambda entry: entry[0].filename))


def unlisted(folder: Path, rng: np.random.Generator) -> set[str]:
    found = [*entries(folder), (_entry(f"extra{rng.integers(9)}.bin"), rng.bytes(10))]
    return rewrite(folder, sorted(found, key=lambda entry: entry[0].filename))


def left_out(folder: Path, rng: np.random.Generator) -> set[str]:
    found = entries(folder)
    del found[int(rng.integers(len(found)))]
    return rewrite(folder, found)


def twice(folder: Path, rng: np.random.Generator) -> set[str]:
    """Add a file of a name that is there, with other content, before or behind it."""
    found = entries(folder)
    place = int(rng.integers(len(found)))
    double = (_entry(found[place][0].filename), rng.bytes(10))
    found.insert(place + int(rng.integers(2)), double)
    return rewrite(folder, found)


def another_order(folder: Path, rng: np.random.Generator) -> set[str]:
    found = entries(folder)
    order = np.roll(np.arange(len(found)), 1 + int(rng.integers(len(found) - 1)))
    return rewrite(folder, [found[index] for index in order])


def a_bomb(folder: Path, rng: np.random.Generator) -> set[str]:
    """Put 16 MB of zeros, deflated to 16 kB and listed with their sha256, in a file's place."""
    found, zeros = entries(folder), bytes(16 << 20)
    at = next(index for index, entry in enumerate(found) if entry[0].filename == "parity.json")
    manifest = json.loads(dict((i.filename, c) for i, c in found)["manifest.json"])
    del manifest["manifest_sha256"]
    manifest["files"]["parity.json"]["sha256"] = sha256(zeros).hexdigest()
    manifest["manifest_sha256"] = canonical_sha256(manifest)
    found[at] = (_entry("parity.json"), zeros)
    found[at][0].compress_type = ZIP_DEFLATED
    own = next(index for index, entry in enumerate(found) if entry[0].filename == "manifest.json")
    found[own] = (_entry("manifest.json"), json.dumps(manifest).encode())
    return rewrite(folder, found)


def noted_file(folder: Path, rng: np.random.Generator) -> set[str]:
    return rewrite(folder, entries(folder), rng.bytes(int(rng.integers(1, 100))))


def raw(edit: Callable[[bytearray, np.random.Generator], object]) -> Kind:
    """Return a kind that edits the bytes of the file."""

    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        data = bytearray((folder / NAME).read_bytes())
        edit(data, rng)
        (folder / NAME).write_bytes(data)
        return {NAME}

    return kind


def header(data: bytearray, mark: bytes, rng: np.random.Generator) -> int:
    """Return the place of one of the directory's entries, or of the header it points to."""
    places, at = [], data.index(_CENTRAL, struct.unpack_from("<L", data, len(data) - 6)[0])
    while data[at : at + 4] == _CENTRAL:
        places.append(at)
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    chosen = places[int(rng.integers(len(places)))]
    return chosen if mark == _CENTRAL else int(struct.unpack_from("<L", data, chosen + 42)[0])


def a_size_that_lies(data: bytearray, rng: np.random.Generator) -> None:
    """State another size in the directory, packed or unpacked or both, up to 4 GB."""
    at, size = header(data, _CENTRAL, rng), int(rng.choice([0, 1, 10**6, 2**31, 2**32 - 1]))
    for place in ([at + 20], [at + 24], [at + 20, at + 24])[int(rng.integers(3))]:
        struct.pack_into("<L", data, place, size)


def an_overlap(data: bytearray, rng: np.random.Generator) -> None:
    """Let an entry begin where another does, or in the midst of it."""
    at = header(data, _CENTRAL, rng)
    (old,) = struct.unpack_from("<L", data, at + 42)
    struct.pack_into("<L", data, at + 42, (old + int(rng.integers(1, 500))) % 1000)


def two_heads(data: bytearray, rng: np.random.Generator) -> None:
    """Let a file's own header say something else than the directory."""
    at = header(data, _LOCAL, rng)
    data[at + int(rng.integers(4, 34))] ^= 1 << int(rng.integers(8))


def flags(data: bytearray, rng: np.random.Generator) -> None:
    """Say that an entry is encrypted, has its sizes behind it, or a name in UTF-8."""
    bit = int(rng.choice([0x1, 0x8, 0x20, 0x40, 0x800]))
    at = header(data, _CENTRAL, rng)
    struct.pack_into("<H", data, at + 8, bit)
    struct.pack_into("<H", data, struct.unpack_from("<L", data, at + 42)[0] + 6, bit)


def before(data: bytearray, rng: np.random.Generator) -> None:
    """Put something before the first file, as a program that unpacks itself would."""
    data[:0] = b"#!/bin/sh\n" + rng.bytes(int(rng.integers(50)))


def behind(data: bytearray, rng: np.random.Generator) -> None:
    """Put another end behind the end."""
    data += data[-22:]


def between(data: bytearray, rng: np.random.Generator) -> None:
    """Put something between the files and the directory, whose place is made right again."""
    (start,) = struct.unpack_from("<L", data, len(data) - 6)
    gap = rng.bytes(int(rng.integers(1, 50)))
    data[start:start] = gap
    struct.pack_into("<L", data, len(data) - 6, start + len(gap))


def zip64(data: bytearray, rng: np.random.Generator) -> None:
    """Add the end of a ZIP64 that points to another directory."""
    (start,) = struct.unpack_from("<L", data, len(data) - 6)
    end = len(data) - 22
    far = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - start, start)
    far += struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    data[end:end] = far
    if rng.random() < 0.5:  # let it lie inside what the end calls the directory
        struct.pack_into("<L", data, len(data) - 10, end - start + len(far))


def many_entries(folder: Path, rng: np.random.Generator) -> set[str]:
    found = [*entries(folder), *((_entry(f"z{number:06d}"), b"") for number in range(3000))]
    return rewrite(folder, found)


def a_zip_in_a_zip(folder: Path, rng: np.random.Generator) -> set[str]:
    inner, outer = (folder / NAME).read_bytes(), io.BytesIO()
    with ZipFile(outer, "w") as archive:
        archive.writestr(_entry("x.foveate"), inner)
    (folder / NAME).write_bytes(outer.getvalue())
    return {NAME}


PACKED_KINDS: dict[str, Kind] = {
    "packed: compressed": edited(compressed), "packed: a link": edited(a_link),
    "packed: another time": edited(another_time), "packed: an extra field": edited(extra),
    "packed: a note on a file": edited(noted), "packed: a note on all": noted_file,
    "packed: a hostile name": hostile_name, "packed: a file unlisted": unlisted,
    "packed: a file left out": left_out, "packed: a name twice": twice,
    "packed: another order": another_order, "packed: a bomb": a_bomb,
    "packed: a size that lies": raw(a_size_that_lies), "packed: an overlap": raw(an_overlap),
    "packed: two heads": raw(two_heads), "packed: flags": raw(flags), "packed: before": raw(before),
    "packed: behind": raw(behind), "packed: between": raw(between), "packed: ZIP64": raw(zip64),
    "packed: 3,000 entries": many_entries, "packed: a ZIP in a ZIP": a_zip_in_a_zip,
}  # fmt: skip
