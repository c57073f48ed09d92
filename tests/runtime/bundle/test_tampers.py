"""A tamper of each kind: refused by the name of the file, or harmless with the very same mask."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from foveate.runtime.bundle.bundle import check_bundle, open_bundle
from foveate.runtime.bundle.describe import bundle_facts
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError, FoveateError, one_line
from foveate.train.runs.run import load_run
from tests.bad import trainings
from tests.bad.bundles import GRAPH, change_graph, sign
from tests.conftest import DEMO

IMAGE = np.add.outer(np.arange(44), np.arange(56)).astype(np.uint8) * 2
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**70, 0.5, -0.5, 1e308, "", "64", "box", "../x", "/etc/passwd",
    "\ud800", "a\0b", [], [[]], {}, {"height": 64}, [1, 2], ["fp32", "fp32"], [None], "x" * 10_000,
)  # fmt: skip


def use(path: Path) -> npt.NDArray[np.uint8]:
    """Segment an image, and look at every file of the bundle."""
    with Cascade.load(path, "onnxruntime", threads=1) as cascade:
        mask = cascade(IMAGE, probabilities=True).mask
    check_bundle(open_bundle(path))
    return mask


@contextmanager
def nothing_read_outside(folder: Path) -> Iterator[None]:
    """Fail where Python opens a file next to the folder."""
    opened: list[Path] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str):
            opened.append(Path(arguments[0]).absolute())

    sys.addaudithook(hook)
    yield
    watching = False
    near = [path for path in opened if folder.parent in path.parents]
    assert all(folder in path.parents for path in near), near


def refused(folder: Path, words: str) -> None:
    with nothing_read_outside(folder), pytest.raises(BundleError, match=words):
        use(folder)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_instead(path: Path) -> None:
    outside = path.parents[1] / f"outside-{path.name}"
    shutil.move(path, outside)
    path.symlink_to(outside)


EDITS: dict[str, Callable[[Path], object]] = {
    "one bit": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "a folder": folder_instead,
    "a link": link_instead,
}


@pytest.mark.parametrize("kind", EDITS)
def test_no_file_may_be_another(bundle: Path, tmp_path: Path, kind: str) -> None:
    names = sorted(path.name for path in bundle.iterdir())
    assert len(names) > 4
    for name in names:
        folder = Path(shutil.copytree(bundle, tmp_path / name))
        EDITS[kind](folder / name)
        refused(folder, name)


def test_files_swapped_or_of_another_bundle(copy: Path) -> None:
    other = copy / "cascade.fp16.onnx"
    kept, own = other.read_bytes(), (copy / GRAPH).read_bytes()
    for content in (kept, (DEMO / GRAPH).read_bytes()):
        (copy / GRAPH).write_bytes(content)
        refused(copy, GRAPH)
    (copy / GRAPH).write_bytes(own)
    shutil.copy(DEMO / "manifest.json", copy)
    refused(copy, GRAPH)


def test_white_space_and_what_is_not_listed_are_harmless(copy: Path) -> None:
    sound = use(copy)
    assert 0 < sound.mean() < 1
    values = json.loads((copy / "manifest.json").read_text())
    text = json.dumps(dict(reversed(values.items())), indent=7)
    (copy / "manifest.json").write_text(f"\n{text} \t\r\n")
    (copy / "notes.txt").write_text("not of the bundle")
    np.testing.assert_array_equal(use(copy), sound)
    assert open_bundle(copy).precisions == ("fp32", "fp16")


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/passwd", "a\\b", "..", "", "a\0b", "ä"])
def test_a_path_that_leaves_the_folder(copy: Path, name: str) -> None:
    sign(copy, lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64}}))
    refused(copy, "leaves the bundle's folder")


def leaves(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of every value inside JSON values."""
    for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        yield values, key
        if isinstance(value, dict | list):
            yield from leaves(value)


@pytest.mark.parametrize("name", ["manifest.json", "parity.json"])
@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_a_hostile_value_anywhere_ends_in_no_traceback(copy: Path, name: str, every: int) -> None:
    """All hashes are right again; it may be another sound bundle, and each refusal is one line."""
    original, count = (copy / name).read_text(), 0
    places = len(list(leaves(json.loads(original))))
    for number in range(0, places * len(HOSTILE), every):
        values = json.loads(original)
        holder, key = list(leaves(values))[number % places]
        holder[key] = HOSTILE[number // places]
        (copy / name).write_text(json.dumps(values))
        try:
            sign(copy, lambda manifest: None)
        except (AttributeError, KeyError, TypeError):  # the list of files is none: its hash is old
            pass
        try:
            bundle_facts(open_bundle(copy))
        except FoveateError as error:
            count += 1
            assert name in str(error) or str(copy) in str(error)
            assert one_line(str(error)).isprintable()
    assert count > 0


def output_lies(model: onnx.ModelProto) -> None:
    """Let the mask have another shape than it says: an operator that the shape cannot follow."""
    node = next(node for node in model.graph.node if "mask" in node.output)
    node.output[0] = "honest"
    times = helper.make_tensor("times", TensorProto.INT64, [2], [2, 2])
    model.graph.initializer.append(times)
    model.graph.node.append(helper.make_node("Expand", ["honest", "times"], ["mask"]))


def set_opset(version: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: setattr(model.opset_import[0], "version", version)


def retype_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


GRAPHS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "an output that lies": output_lies,
    "an output of another type": retype_output,
    "an output more": lambda model: model.graph.output.append(
        helper.make_tensor_value_info("stage1_logits", TensorProto.FLOAT, None)
    ),
    "an operator that does not exist": lambda model: setattr(
        model.graph.node[0], "op_type", "Nothing"
    ),
    "an opset too new": set_opset(999),
    "an opset too large": set_opset(2**40),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_whose_hash_is_right(copy: Path, kind: str) -> None:
    change_graph(copy, GRAPHS[kind])
    with nothing_read_outside(copy), pytest.raises(FoveateError, match=GRAPH):
        use(copy)


class Payload:
    """What a pickle would run when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("executed",)


def test_a_pickle_in_a_run_is_never_executed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    (folder / "stage1.safetensors").write_bytes(pickle.dumps(Payload()))
    trainings.sign(folder)
    with pytest.raises(FoveateError, match="stage1.safetensors: not a sound safetensors file"):
        load_run(folder)
    assert not (tmp_path / "executed").exists()
