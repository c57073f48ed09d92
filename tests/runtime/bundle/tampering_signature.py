"""Tampers of a bundle that was signed: whoever trusts the key is to be told of every one."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foveate.runtime.bundle.bundle import file_sha256, open_bundle
from foveate.runtime.bundle.pack import sign_bundle
from foveate.runtime.bundle.signing import private_key
from tests.runtime.bundle import tampering
from tests.runtime.bundle.tampering import Kind, change, flip, json_value, white_space
from tests.runtime.bundle.tampering_signed import BUNDLE_KINDS

SIGNATURE = "signature.json"


def values_of(edit: Callable[[dict[str, Any], np.random.Generator], object]) -> Kind:
    """Return a kind that edits the values of ``signature.json``."""

    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        values = json.loads((folder / SIGNATURE).read_text())
        before = json.dumps(values)
        while json.dumps(values) == before:
            edit(values, rng)
        (folder / SIGNATURE).write_text(json.dumps(values))
        return {folder.name}

    return kind


def removed(folder: Path, rng: np.random.Generator) -> set[str]:
    (folder / SIGNATURE).unlink()
    return {folder.name}


def another_signature(values: dict[str, Any], rng: np.random.Generator) -> None:
    """Turn over bits of the signature, or make it longer or shorter, in sound base64."""
    data = bytearray(base64.b64decode(values["signature"]))
    how = int(rng.integers(4))
    data = (flip(data, rng), data + rng.bytes(1), data[:-1], bytearray())[how]
    values["signature"] = base64.b64encode(data).decode()


def another_key(pem: bytes) -> Kind:
    """Return a kind that signs anew with another key, which it may name as the trusted one."""

    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        named = json.loads((folder / SIGNATURE).read_text())["key"]
        sign_bundle(open_bundle(folder), private_key(pem))
        if rng.random() < 0.5:
            values = json.loads((folder / SIGNATURE).read_text())
            (folder / SIGNATURE).write_text(json.dumps(values | {"key": named}))
        return {folder.name}

    return kind


def of_another_bundle(other: Path) -> Kind:
    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        shutil.copy(other / SIGNATURE, folder / SIGNATURE)
        return {folder.name}

    return kind


def then_changed(folder: Path, rng: np.random.Generator) -> set[str]:
    """Change what a bundle is and make all hashes right again, that of the signature too."""
    kinds = list(BUNDLE_KINDS.values())
    kinds[int(rng.integers(len(kinds)))](folder, rng)
    values = json.loads((folder / SIGNATURE).read_text())
    values["manifest"] = file_sha256(folder / "manifest.json")
    (folder / SIGNATURE).write_text(json.dumps(values))
    return {folder.name}


def one_bit_of_any_file(folder: Path, rng: np.random.Generator) -> set[str]:
    """Flip a bit; what is wrong with manifest or signature is said without their file names."""
    (name,) = tampering.one_bit(folder, rng)
    words = {"manifest.json": "its manifest is not the one", SIGNATURE: "is signed with the key"}
    return {name, words.get(name, name)} | ({"its signature"} if name == SIGNATURE else set())


def signature_kinds(other_key: bytes, other: Path) -> dict[str, Kind]:
    """Return the kinds; ``other`` is another bundle that the trusted key signed."""
    return {
        "trusted: removed": removed, "trusted: one bit": lambda folder, rng: change(
            folder / SIGNATURE, lambda data: flip(data, rng)) | {folder.name},
        "trusted: a value": values_of(json_value), "trusted: bits": values_of(another_signature),
        "trusted: another key": another_key(other_key),
        "trusted: of another bundle": of_another_bundle(other),
        "trusted: the manifest's spaces": lambda folder, rng: white_space(
            folder, rng, "manifest.json") | {folder.name},
        "trusted: then changed": then_changed,
        "trusted: one bit of any file": one_bit_of_any_file,
    }  # fmt: skip
