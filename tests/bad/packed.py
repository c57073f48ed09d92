"""Packed and signed bundles that are refused, and keys that are none: one line, exit code 2."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.containers import PackedFile, write_packed
from foveate.runtime.bundle.pack import pack, sign_bundle
from foveate.runtime.bundle.signing import new_pair, private_key
from tests.bad.case import Case, Place

MAKER, OTHER = new_pair(None), new_pair(None)


def packed(given: str, said: str, spoil: Callable[[Path, Place], object]) -> Case:
    """Return the case of a packed bundle that ``spoil`` changes."""

    def make(place: Place) -> list[object]:
        path = place.folder / "x.foveate"
        pack(open_bundle(place.bundle), path)
        spoil(path, place)
        return ["segment", path, place.image(), "--out", place.folder / "out"]

    return Case(given, said, 2, make)


def trusted(given: str, said: str, spoil: Callable[[Path], object], key: bytes = MAKER[1]) -> Case:
    """Return the case of a signed bundle that ``spoil`` changes, and of who trusts ``key``."""

    def make(place: Place) -> list[object]:
        folder = place.copy(place.bundle)
        sign_bundle(open_bundle(folder), private_key(MAKER[0]))
        spoil(folder)
        (place.folder / "key.pem").write_bytes(key)
        trust = ("--trust", place.folder / "key.pem")
        return ["segment", folder, place.image(), "--out", place.folder / "out", *trust]

    return Case(given, said, 2, make)


def command(given: str, said: str, *arguments: str) -> Case:
    """Return the case of a command on ``a.pem`` and ``a.pub.pem``, a pair of keys, and on bundles.

    ``BUNDLE`` is a sound one, ``EDITED`` was signed before its manifest was changed.
    """

    def make(place: Place) -> list[object]:
        (place.folder / "a.pem").write_bytes(MAKER[0])
        (place.folder / "a.pub.pem").write_bytes(MAKER[1])
        edited = place.copy(place.bundle)
        sign_bundle(open_bundle(edited), private_key(MAKER[0]))
        changed("manifest.json")(edited)
        names = {"BUNDLE": place.bundle, "EDITED": edited}
        names |= {name: place.folder / name for name in ("a.pem", "a.pub.pem")}
        return [names.get(word, word) for word in arguments]

    return Case(given, said, 2, make)


def zipped(path: Path, place: Place) -> None:
    """Zip the folder as any program would."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for file in sorted(place.bundle.iterdir()):
            archive.write(file, file.name)


def another(path: Path, place: Place) -> None:
    files = PackedFile(path)
    contents = {name: files.read(name) for name in files.names()}
    contents["cascade.fp31.onnx"] = contents.pop("cascade.fp32.onnx")
    write_packed(path, contents)


def one_bit(path: Path, place: Place) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"cascade.fp32.onnx") + 1000] ^= 1
    path.write_bytes(data)


def changed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b" ")


def forged(folder: Path) -> None:
    """Sign with another key, under the name of the trusted one."""
    path = folder / "signature.json"
    own = path.read_text()
    sign_bundle(open_bundle(folder), private_key(OTHER[0]))
    line = next(line for line in own.splitlines() if '"key"' in line)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line if '"key"' in old else old for old in lines))


PACKED = [
    packed("a file that is not a packed bundle",
           "is not a packed bundle, or is cut short; expected …",
           lambda path, place: path.write_text("no bundle at all")),
    packed("a bundle zipped by hand", "not as foveate bundle pack writes it: 'cascade.fp16.onnx' "
           "has a different compress_type. Pack it again", zipped),
    packed("a file in a packed bundle that its manifest does not list",
           "holds cascade.fp31.onnx, which its manifest does not list; pack …",
           another),
    packed("one bit of a packed bundle", "cascade.fp32.onnx: does not match its sha256 in the …",
           one_bit),
    trusted("a bundle that is not signed", "is not signed; expected a bundle signed with the key …",
            lambda folder: (folder / "signature.json").unlink()),
    trusted("a bundle of another maker", "is signed with the key …, which is not trusted; …",
            lambda folder: None, OTHER[1]),
    trusted("a manifest changed after it was signed",
            "its manifest is not the one that was signed; …", changed("manifest.json")),
    trusted("a file changed that is not used", "preview.png: does not match its sha256 …",
            changed("preview.png")),
    trusted("a signature under another's name",
            "its signature was not made with the key … that it names; …", forged),
    trusted("a signature.json that is not a signature", "signature.json: has no schema",
            lambda folder: (folder / "signature.json").write_text("{}")),
    trusted("a signature.json of 5,000 bytes",
            "signature.json: has 5000 bytes; expected at most 4096",
            lambda folder: os.truncate(folder / "signature.json", 5000)),
    trusted("a private key where the public one is expected", "a private key was given where …",
            lambda folder: None, MAKER[0]),
    trusted("a key that is not a key", "the public key is not in PEM; …",
            lambda folder: None, b"key"),
    command("keys over a file that is there", "a.pem: exists, and a key is never overwritten; …",
            "bundle", "keys", "--out", "a.pem"),
    command("pack over another file", "a.pem: exists and is not a packed bundle; choose another",
            "bundle", "pack", "BUNDLE", "--out", "a.pem"),
    command("a public key where the private one is expected",
            "a public key was given where the private one is expected: …",
            "bundle", "sign", "BUNDLE", "--key", "a.pub.pem"),
    command("a signature of another manifest, verified", "signature.json: signs another …",
            "bundle", "verify", "EDITED"),
    command("export without --out or --triton", "expected --out BUNDLE, --triton REPO, or both",
            "export", "BUNDLE"),
]  # fmt: skip
