"""A packed bundle is the bundle: the same masks and figures, whoever takes it, and a plain ZIP."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from foveate.benchmarks.evaluation_command import open_model
from foveate.benchmarks.measure.targets import open_variants
from foveate.benchmarks.schema.result_files import model_facts
from foveate.export.source import read_source
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.pack import pack
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError
from foveate.runtime.io.images import image_paths, read_image
from tests.conftest import DEMO, run


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "demo.foveate"
    pack(open_bundle(DEMO), path)
    return path


def test_it_holds_the_bundle_and_nothing_else(packed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEMO, tmp_path / "copy"))
    (copy / "README.md").write_text("not of the bundle")
    result = run("bundle", "pack", copy, "--out", tmp_path / "again.foveate")
    assert "left out: README.md" in result.output
    assert (tmp_path / "again.foveate").read_bytes() == packed.read_bytes()
    with ZipFile(packed) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
    for path in DEMO.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == len(list(DEMO.iterdir()))
    pack(open_bundle(tmp_path / "out"), tmp_path / "third.foveate")
    assert (tmp_path / "third.foveate").read_bytes() == packed.read_bytes()


def test_everything_that_takes_a_bundle_takes_it(packed: Path, data: Path, tmp_path: Path) -> None:
    image = read_image(image_paths(data / "images")[0])
    model, folder_model = open_model(packed), open_model(DEMO)
    assert model.identity.sha256 == folder_model.identity.sha256
    np.testing.assert_array_equal(model.segment(image).mask, folder_model.segment(image).mask)
    with open_variants(packed, ["onnxruntime"], ["fp32"], 1) as variants:
        assert model_facts(variants.bundle) | {"name": ""} == model_facts(open_bundle(DEMO)) | {
            "name": ""
        }
    weights = read_source(packed).cascade.state_dict()
    for name, tensor in read_source(DEMO).cascade.state_dict().items():
        np.testing.assert_array_equal(weights[name].numpy(), tensor.numpy())
    built = run("build", packed, "--size", "8x8", "--precision", "int8")
    assert "TensorRT" in str(built.exception)  # refused for the precision, or for want of TensorRT


def test_no_file_stays_open(packed: Path) -> None:
    with Cascade.load(packed, threads=1) as cascade:
        cascade(np.zeros((40, 40), np.uint16))
        moved = packed.rename(packed.with_name("elsewhere.foveate"))
        cascade(np.zeros((40, 40), np.uint16))
    moved.rename(packed)


def test_show_says_the_same_of_both(packed: Path) -> None:
    found = json.loads(run("bundle", "show", packed, "--json").output)
    folder = json.loads(run("bundle", "show", DEMO, "--json").output)
    assert found.pop("packed") and not folder.pop("packed")
    assert (found.pop("path"), folder.pop("path")) == (str(packed), str(DEMO))
    assert found == folder
    graph = (DEMO / "cascade.fp32.onnx").read_bytes()
    assert found["files"]["cascade.fp32.onnx"] == {
        "bytes": len(graph),
        "sha256": sha256(graph).hexdigest(),
    }
    words = run("bundle", "show", packed).output.splitlines()
    assert words[0] == f"bundle: {packed}, all 3 files match their sha256"
    assert "signature: none" in words and "stage 1: 256x256, the whole image" in words


def test_verify_names_each_file_and_what_is_not_of_the_bundle(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEMO, tmp_path / "copy"))
    (copy / "notes\x1b.txt").touch()
    lines = run("bundle", "verify", copy).output.splitlines()
    assert f"cascade.fp32.onnx: {(copy / 'cascade.fp32.onnx').stat().st_size} bytes, sound" in lines
    assert lines[-1] == "notes\\x1b.txt: not part of the bundle, never read" and len(lines) == 4


def test_pack_does_not_write_over_another_file(packed: Path, tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("dear")
    with pytest.raises(BundleError, match="exists and is not a packed bundle"):
        pack(open_bundle(DEMO), other)
    assert other.read_text() == "dear"
    shutil.copy(packed, other)
    assert pack(open_bundle(DEMO), other) == packed.stat().st_size
