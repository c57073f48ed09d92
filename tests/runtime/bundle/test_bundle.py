"""Bundles are verified before anything in them is believed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from foveate.runtime.bundle.bundle import file_sha256, open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import _once, canonical_sha256
from tests.conftest import run


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "copy")
    return tmp_path / "copy"


def sign(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its own hash right again, as somebody who means it would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["manifest_sha256"]
    change(manifest)
    manifest["manifest_sha256"] = canonical_sha256(manifest)
    path.write_text(json.dumps(manifest))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        Cascade.load(folder)


def test_a_sound_copy_loads(copy: Path) -> None:
    with Cascade.load(copy) as cascade:
        assert cascade.spec.classes == ("background", "lesion")


def test_one_bit_of_the_graph(copy: Path) -> None:
    data = bytearray((copy / "cascade.fp32.onnx").read_bytes())
    data[len(data) // 2] ^= 4
    (copy / "cascade.fp32.onnx").write_bytes(data)
    refused(copy, r"cascade\.fp32\.onnx: does not match its sha256")


def test_one_word_of_the_manifest(copy: Path) -> None:
    path = copy / "manifest.json"
    text, changed = re.subn(r'("mask_threshold": 0\.\d*)', r"\g<1>1", path.read_text())
    assert changed == 1
    path.write_text(text)
    refused(copy, "does not match its own manifest_sha256")


def test_white_space_in_the_manifest_is_harmless(copy: Path) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert open_bundle(copy).precisions == ("fp32", "fp16")


@pytest.mark.parametrize("command", [("bundle", "verify"), ("serve", "--port", 0)])
def test_a_graph_of_a_terabyte_is_not_read(copy: Path, command: tuple[object, ...]) -> None:
    os.truncate(copy / "cascade.fp32.onnx", 1 << 40)
    error = run(*command, copy).exception
    assert isinstance(error, BundleError) and "expected at most 2147483647" in str(error)


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_a_name_that_stands_twice_is_found_in_one_pass() -> None:
    pairs = [(Counted(number), 0) for number in [*range(2000), 1999]]
    with pytest.raises(ValueError, match="'1999' stands twice"):
        _once(pairs)
    assert Counted.compared < 20_000


@pytest.mark.parametrize("name", ["manifest.json", "cascade.fp32.onnx"])
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    refused(copy, f"{name}: cannot be read")


def test_a_newer_schema(copy: Path) -> None:
    sign(copy, lambda manifest: manifest.update(schema=2))
    refused(copy, "schema 2; this version reads schema 1")


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/passwd", "a\\b", ".."])
def test_a_path_that_leaves_the_folder(copy: Path, name: str) -> None:
    sign(copy, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64}}))
    refused(copy, "leaves the bundle's folder")


def test_a_link(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "cascade.fp32.onnx", tmp_path / "elsewhere.onnx")
    (copy / "cascade.fp32.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    refused(copy, "is a link")


def test_external_data(copy: Path) -> None:
    path = copy / "cascade.fp32.onnx"
    model = onnx.load_from_string(path.read_bytes())
    tensor = model.graph.initializer[-1]
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"
    path.write_bytes(model.SerializeToString())
    sign(copy, lambda m: m["files"][path.name].update(sha256=file_sha256(path)))
    refused(copy, "ONNX external data")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["cascade"].update(input_type="float64"), "input_type is"),
        (lambda m: m["cascade"].update(mask_threshold=1.5), "mask threshold is 1.5"),
        (lambda m: m["cascade"].pop("region"), "incomplete or malformed: 'region'"),
        (lambda m: m["cascade"]["stage1"].update(height=100000), "stage1 is 100000x64"),
        (lambda m: m.update(precisions=["fp4"]), "do not fit the files"),
    ],
)
def test_a_signed_manifest_that_makes_no_sense(
    copy: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    sign(copy, change)
    refused(copy, words)


def test_a_folder_without_manifest_and_no_folder(tmp_path: Path) -> None:
    refused(tmp_path, "expected a bundle made by foveate export")
    refused(tmp_path / "none", "no such bundle")


def test_a_precision_that_is_not_there(copy: Path) -> None:
    with pytest.raises(BundleError, match="has no int8 graph; it has fp32, fp16"):
        Cascade.load(copy, precision="int8")
