"""Tampers of somebody who makes all hashes right again: other graphs, weights and words."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from tests.bad import bundles, trainings
from tests.runtime.bundle.tampering import Kind, files, flip, json_value

GRAPH = bundles.GRAPH
Edit = Callable[[onnx.ModelProto, np.random.Generator], object]


def graph(edit: Edit) -> Kind:
    """Return a kind that edits the fp32 graph through the onnx package."""

    def kind(folder: Path, rng: np.random.Generator) -> set[str]:
        model = onnx.load_from_string((folder / GRAPH).read_bytes())
        edit(model, rng)
        return raw(folder, model.SerializeToString())

    return kind


def raw(folder: Path, data: bytes) -> set[str]:
    (folder / GRAPH).write_bytes(data)
    bundles.sign(folder, lambda manifest: None)
    return {GRAPH}


def graph_bits(folder: Path, rng: np.random.Generator) -> set[str]:
    return raw(folder, flip(bytearray((folder / GRAPH).read_bytes()), rng))


def initializer(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.TensorProto:
    return model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]


def floats(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.TensorProto:
    """Return the weights of a convolution, which every image passes through."""
    found = [item for item in model.graph.initializer if item.name.startswith("stage")]
    return found[int(rng.integers(len(found)))]


def not_finite(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    tensor = floats(model, rng)
    value = np.float32([np.nan, np.inf, -np.inf][int(rng.integers(3))])
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, value).tobytes()


def other_weights(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    tensor = floats(model, rng)
    values = np.frombuffer(tensor.raw_data, np.float32)
    tensor.raw_data = (values * rng.normal(1, 2)).astype(np.float32).tobytes()


def other_dims(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    initializer(model, rng).dims.insert(0, int(rng.choice([0, 2, 3, 7, 2**40])))


def other_type(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    initializer(model, rng).data_type = int(rng.choice([2, 6, 7, 8, 9, 10, 11, 99]))


def signature(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Rename, retype, reshape, drop or add an output or the input."""
    value = [model.graph.input[0], *model.graph.output][int(rng.integers(6))]
    tensor = value.type.tensor_type
    how = int(rng.integers(5))
    if how == 0:
        value.name += "x"
    elif how == 1:
        tensor.elem_type = int(rng.choice([3, 6, 7, 10, 11]))
    elif how == 2:
        tensor.shape.dim.add().dim_value = 3
    elif how == 3 and value in model.graph.output:
        model.graph.output.remove(value)
    else:
        model.graph.output.append(
            helper.make_tensor_value_info("stage1_logits", TensorProto.FLOAT, None)
        )


def output_lies(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Let an output have another shape than it says: an operator that the shape cannot follow."""
    name = ("mask", "box", "score")[int(rng.integers(3))]
    node = next(node for node in model.graph.node if name in node.output)
    node.output[0] = "honest"
    sides = int(rng.integers(1, 4))
    model.graph.initializer.append(
        helper.make_tensor("times", TensorProto.INT64, [sides], [2] * sides)
    )
    model.graph.node.append(helper.make_node("Expand", ["honest", "times"], [name]))


def operator(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node = model.graph.node[int(rng.integers(len(model.graph.node)))]
    if rng.random() < 0.5:
        node.domain = str(rng.choice(["mine", "com.microsoft", "ai.onnx.ml", "../x"]))
    else:
        node.op_type = str(rng.choice(["Nothing", "Loop", "If", "Sqrt", "Range", "EPContext"]))


def opset(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    model.opset_import[0].version = int(rng.choice([0, 1, 7, 999, 2**40]))
    if rng.random() < 0.5:
        model.ir_version = int(rng.choice([0, 999]))


def varint(value: int, padding: int = 0) -> bytes:
    """Return a protobuf varint, not the shortest when ``padding`` is not 0."""
    groups = []
    while value or not groups:
        groups.append(value & 0x7F)
        value >>= 7
    groups += [0] * padding
    return bytes([item | 0x80 for item in groups[:-1]] + groups[-1:])


def message(number: int, content: bytes, padding: int) -> bytes:
    return varint(number << 3 | 2, padding % 3) + varint(len(content), padding) + content


def external(folder: Path, rng: np.random.Generator) -> set[str]:
    """Keep an initializer in another file, in one of many protobuf encodings of that wish.

    The file holds sound weights: were it read, the bundle would load.
    """
    model = onnx.load_from_string((folder / GRAPH).read_bytes())
    tensor = floats(model, rng)
    outside = folder.parent / "outside.bin"
    outside.write_bytes(tensor.raw_data)
    place = [str(outside), "../outside.bin", os.path.relpath(outside)][int(rng.integers(3))]
    padding = int(rng.integers(0, 4))
    entry = message(1, b"location", padding) + message(2, place.encode(), padding)
    if rng.random() < 0.5:
        entry = message(2, place.encode(), padding) + message(1, b"location", padding)
    where = varint(14 << 3, padding % 3) + varint(1, padding)
    made = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    body = made.SerializeToString() + message(13, entry, padding) + where
    model.graph.initializer.remove(tensor)
    inner = message(5, body, padding)
    return raw(folder, model.SerializeToString() + message(7, inner, padding))


def signed_manifest(folder: Path, rng: np.random.Generator) -> set[str]:
    bundles.sign(folder, lambda manifest: json_value(manifest, rng))
    return {path.name for path in files(folder)}


def signed_parity(folder: Path, rng: np.random.Generator) -> set[str]:
    path = folder / "parity.json"
    values = json.loads(path.read_text())
    json_value(values, rng)
    path.write_text(json.dumps(values))
    bundles.sign(folder, lambda manifest: None)
    return {"parity.json"}


def signed_names(folder: Path, rng: np.random.Generator) -> set[str]:
    names = [
        "../x",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "a\0b",
        "\ud800",
        "x" * 300,
        "C:x",
    ]
    name = names[int(rng.integers(len(names)))]
    entry = {"sha256": "0" * 64}
    bundles.sign(folder, lambda manifest: manifest["files"].update({name: entry}))
    return {"manifest.json"}


BUNDLE_KINDS: dict[str, Kind] = {
    "signed: a value of the record": signed_manifest, "signed: a file name": signed_names,
    "signed: the parity record": signed_parity,
    "signed: one bit of the graph": graph_bits, "signed: external data": external,
    "signed: not finite": graph(not_finite), "signed: other weights": graph(other_weights),
    "signed: other dims": graph(other_dims), "signed: other type": graph(other_type),
    "signed: signature": graph(signature), "signed: output lies": graph(output_lies),
    "signed: operator": graph(operator), "signed: opset": graph(opset),
}  # fmt: skip


class Payload:
    """What a pickle would run when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("executed",)


def stage(folder: Path, rng: np.random.Generator) -> Path:
    return folder / f"stage{int(rng.integers(1, 3))}.safetensors"


def signed_pickle(folder: Path, rng: np.random.Generator) -> set[str]:
    path = stage(folder, rng)
    if rng.random() < 0.5:
        path.write_bytes(pickle.dumps(Payload()))
    else:
        torch.save({"head.bias": Payload()}, path)
    trainings.sign(folder)
    return {path.name}


def signed_bits(folder: Path, rng: np.random.Generator) -> set[str]:
    path = stage(folder, rng)
    path.write_bytes(flip(bytearray(path.read_bytes()), rng))
    trainings.sign(folder)
    return {path.name}


def signed_header(folder: Path, rng: np.random.Generator) -> set[str]:
    """Spoil the safetensors header: its length, its offsets, its names."""
    path = stage(folder, rng)
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.2:
        data[:8] = int(rng.integers(0, 2**62)).to_bytes(8, "little")
    else:
        data[8 : 8 + length] = flip(data[8 : 8 + length], rng, int(rng.integers(1, 4)))
    path.write_bytes(data)
    trainings.sign(folder)
    return {path.name}


def signed_tensors(folder: Path, rng: np.random.Generator) -> set[str]:
    path = stage(folder, rng)
    values = load_file(path)
    names = [name for name in values if values[name].is_floating_point()]
    name = names[int(rng.integers(len(names)))]
    how = int(rng.integers(5))
    if how == 0:
        values[name].view(-1)[0] = [np.nan, np.inf, -np.inf][int(rng.integers(3))]
    elif how == 1:
        values[name] = torch.zeros(2, *values[name].shape)
    elif how == 2:
        del values[name]
    elif how == 3:
        values[f"{name}.more"] = torch.zeros(1).to(torch.float8_e4m3fn)
    else:
        values[name] = values[name].to([torch.float64, torch.float8_e4m3fn][int(rng.integers(2))])
    save_file(values, path)
    trainings.sign(folder)
    return {path.name}


def signed_swap(folder: Path, rng: np.random.Generator) -> set[str]:
    trainings.swapped(folder)
    trainings.sign(folder)
    return {"stage1.safetensors", "stage2.safetensors"}


def signed_record(folder: Path, rng: np.random.Generator) -> set[str]:
    trainings.sign(folder, lambda record: json_value(record, rng))
    return {"run.json", "stage1.safetensors", "stage2.safetensors"}


RUN_KINDS: dict[str, Kind] = {
    "signed: a pickle": signed_pickle, "signed: one bit of the weights": signed_bits,
    "signed: header of the weights": signed_header, "signed: a tensor": signed_tensors,
    "signed: stages swapped": signed_swap, "signed: a value of the record": signed_record,
}  # fmt: skip
