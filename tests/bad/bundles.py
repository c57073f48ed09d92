"""Bundles and engines that stop ``segment`` before any image: one line, exit code 2."""

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

from foveate.runtime.bundle.bundle import file_sha256
from foveate.runtime.engines.onnxruntime_cuda import has_provider
from foveate.runtime.json_files import canonical_sha256
from tests.bad.case import Case, Place

GRAPH = "cascade.fp32.onnx"


def sign(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its hashes right again, as somebody who means it would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, entry in manifest["files"].items():
        if (folder / name).is_file():
            entry["sha256"] = file_sha256(folder / name)
    change(manifest)
    manifest.pop("manifest_sha256", None)
    manifest["manifest_sha256"] = canonical_sha256(manifest)
    path.write_text(json.dumps(manifest))


def change_graph(folder: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Change the fp32 graph and make the hashes right again."""
    model = onnx.load_from_string((folder / GRAPH).read_bytes())
    change(model)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    sign(folder, lambda manifest: None)


def bundle(given: str, said: str, spoil: Callable[[Path], object]) -> Case:
    """Return the case of a copy of a bundle that ``spoil`` changes."""

    def make(place: Place) -> list[object]:
        folder = place.copy(place.bundle)
        spoil(folder)
        return ["segment", folder, place.image(), "--out", place.folder / "out"]

    return Case(given, said, 2, make)


def signed(given: str, said: str, change: Callable[[dict[str, Any]], object]) -> Case:
    return bundle(given, said, lambda folder: sign(folder, change))


def graph(given: str, said: str, change: Callable[[onnx.ModelProto], object]) -> Case:
    return bundle(given, said, lambda folder: change_graph(folder, change))


def text(change: Callable[[str], str]) -> Callable[[Path], object]:
    """Return a change of the manifest's text."""
    return lambda folder: (folder / "manifest.json").write_text(
        change((folder / "manifest.json").read_text())
    )


def segment(given: str, said: str, *more: object, out: str = "out") -> Case:
    """Return the case of a sound bundle and image with other options."""

    def make(place: Place) -> list[object]:
        (place.folder / "file").touch()
        return ["segment", place.bundle, place.image(), "--out", place.folder / out, *more]

    return Case(given, said, 2, make)


def link(folder: Path) -> None:
    shutil.move(folder / GRAPH, folder.parent / "elsewhere.onnx")
    (folder / GRAPH).symlink_to(folder.parent / "elsewhere.onnx")


def external(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[-1].external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"


def weights(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(item for item in model.graph.initializer if item.name.startswith("stage2"))


def nan_weights(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    tensor.raw_data = b"\x00\x00\xc0\x7f" * (len(tensor.raw_data) // 4)


def rename_output(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if "score" in node.output)
    node.output[0] = model.graph.output[2].name = "points"


def engine_not_here(place: Place) -> list[object]:
    if has_provider():
        pytest.skip("this ONNX Runtime has its CUDA provider")
    out = place.folder / "out"
    return ["segment", place.bundle, place.image(), "--out", out, "--engine", "onnxruntime-cuda"]


BUNDLES = [
    segment("--out is a file", "file: File exists", out="file"),
    segment("--out inside a file", "file/out: Not a directory", out="file/out"),
    segment("an engine that does not exist", 'there is no engine "abacus"; this version has …',
            "--engine", "abacus"),
    Case("an engine that is not here", "the onnxruntime-cuda engine cannot be loaded: …", 2,
         engine_not_here),
    segment("fp16 on a CPU", "onnxruntime has no fp16 arithmetic on a CPU …; use fp32 here",
            "--precision", "fp16"),
    segment("int8 on TensorRT",
            "TensorRT reads signed 8 bits without a zero point alone, …; use fp16 here",
            "--engine", "tensorrt", "--precision", "int8"),
    segment("int8 on ONNX Runtime's GPU engine",
            "onnxruntime-cuda has no int8 convolutions and would compute in float32 …; use fp32 or "
            "fp16 here", "--engine", "onnxruntime-cuda", "--precision", "int8"),
    segment("a precision the bundle lacks", "has no int8 graph; it has fp32, fp16. Choose …",
            "--precision", "int8"),
    bundle("no bundle there", "no such bundle; expected a folder with manifest.json",
           shutil.rmtree),
    bundle("no manifest", "manifest.json: cannot be read: No such file or directory; expected …",
           lambda folder: (folder / "manifest.json").unlink()),
    bundle("a manifest that is not JSON", "manifest.json: not valid JSON: …",
           text(lambda old: old[:-9])),
    bundle("a name twice in the manifest", "the name 'schema' appears twice in one object",
           text(lambda old: old.replace("{", '{"schema": 1,', 1))),
    bundle("NaN in the manifest", "NaN is not a JSON number",
           text(lambda old: re.sub(r'threshold": [0-9.]+', 'threshold": NaN', old))),
    bundle("a manifest nested 100,000 deep", "not valid JSON: nested too deeply",
           text(lambda old: "[" * 100_000)),
    bundle("a manifest of 100 MB", "manifest.json: has 100000000 bytes; expected at most 1048576",
           lambda folder: os.truncate(folder / "manifest.json", 100_000_000)),
    bundle("one word of the manifest changed", "does not match its own manifest_sha256; …",
           text(lambda old: re.sub(r'threshold": [0-9.]+', 'threshold": 0.123', old))),
    bundle("a file changed", "cascade.fp32.onnx: does not match its sha256 in the manifest; …",
           lambda folder: os.truncate(folder / GRAPH, 1000)),
    bundle("a file missing", "cascade.fp32.onnx: cannot be read: No such file or directory",
           lambda folder: (folder / GRAPH).unlink()),
    bundle("a graph of 1 TB that holds nothing",
           "cascade.fp32.onnx: has 1099511627776 bytes; expected at most 2147483647",
           lambda folder: os.truncate(folder / GRAPH, 1 << 40)),
    bundle("a link instead of a file", "cascade.fp32.onnx: is a link or a folder; …", link),
    signed("a newer schema", "schema 2; this version reads schema 1. …",
           lambda manifest: manifest.update(schema=2)),
    signed("a path in a file name", "'../x' leaves the bundle's folder, or could; …",
           lambda manifest: manifest["files"].update({"../x": {"sha256": ""}})),
    signed("a size that is text", "manifest.json: the cascade description is …: height is '64'; …",
           lambda manifest: manifest["cascade"]["stage1"].update(height="64")),
    signed("a threshold out of range", "mask threshold is 1.5; expected between 0 and 1",
           lambda manifest: manifest["cascade"].update(mask_threshold=1.5)),
    signed("two classes of one name", 'two classes are called "a"; expected a name of its own …',
           lambda manifest: manifest["cascade"].update(classes=["a", "a"])),
    signed("a class without a name", "a class has an empty name; expected one of its own for …",
           lambda manifest: manifest["cascade"].update(classes=["background", " "])),
    graph("weights in another file", "keeps weights in other files (ONNX external data); …",
          external),
    graph("operators of another maker", "uses operators of the domain b'mine'; …",
          lambda model: model.graph.node[0].__setattr__("domain", "mine")),
    graph("an output of another name", "its outputs are mask, box, points, …; expected mask, …",
          rename_output),
    graph("weights of another shape", "cascade.fp32.onnx: ONNX Runtime refuses the graph: …",
          lambda model: weights(model).dims.insert(0, 2)),
    graph("NaN in weights", "cascade.fp32.onnx: has weights that are not finite", nan_weights),
    graph("infinity in an attribute", "cascade.fp32.onnx: has attributes that are not finite",
          lambda model: model.graph.node[0].attribute.add(name="x", floats=[1.0, float("inf")])),
    graph("numbers of eight bits, floating-point",
          "cascade.fp32.onnx: has numbers of the ONNX type 17; expected what foveate export writes",
          lambda model: model.graph.initializer.add(name="x", data_type=17, raw_data=b"x")),
    graph("a file without a graph", "cascade.fp32.onnx: has no ONNX graph, or an empty one; …",
          lambda model: model.ClearField("graph")),
    signed("more classes than the graph has", 'its output "coarse" is …; the manifest expects …',
           lambda manifest: manifest["cascade"].update(classes=["a", "b", "c"])),
]  # fmt: skip
