"""A bundle becomes a model of Triton Inference Server: one graph, one model, one ``config.pbtxt``.

The first axis is the batch, so Triton may put images of one size together. What it checks at
loading, names, types and sides, is taken from the graph itself.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

import foveate
from foveate.runtime.atomic_files import make_temporary_folder
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.errors import SettingsError

MAX_BATCH = 8
"""Images that Triton puts into one call: what is in the queue, when the model is free."""
_TYPES: dict[int, str] = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}
_FIXED = """backend: "onnxruntime"
max_batch_size: {batch}
dynamic_batching {{ }}
instance_group [ {{ kind: KIND_AUTO count: 1 }} ]
optimization {{
  execution_accelerators {{
    gpu_execution_accelerator [
      {{ name: "cuda" parameters {{ key: "use_tf32" value: "0" }} }}
    ]
  }}
}}
"""


def write_triton_model(bundle: Bundle, precision: str, repository: Path) -> Path:
    """Write ``NAME/config.pbtxt`` and ``NAME/1/model.onnx`` into a repository; return its folder.

    NAME is the bundle's, without its suffix. SettingsError where the repository has a model of that
    name; BundleError where the bundle has no such graph. Raises OSError.
    """
    name = model_name(bundle.path)
    folder = repository / name
    if folder.exists():
        raise SettingsError(f"{folder}: exists; remove it, or choose another --triton")
    graph = bundle.graph(precision)
    config = model_config(name, bundle, precision, graph)
    repository.mkdir(parents=True, exist_ok=True)
    made = make_temporary_folder(repository)
    try:
        (made / "1").mkdir()
        (made / "1" / "model.onnx").write_bytes(graph)
        (made / "config.pbtxt").write_text(config, encoding="ascii")
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder


def model_name(path: Path) -> str:
    """Return the name that a model of a bundle has: letters, digits, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", path.resolve().stem)


def model_config(name: str, bundle: Bundle, precision: str, graph: bytes) -> str:
    """Return the text of ``config.pbtxt``, in ASCII."""
    signature = onnx.load_from_string(graph).graph
    kept = [value for value in signature.output if _is_per_image(value)]
    parts = [f"name: {_quoted(name)}\n", _FIXED.format(batch=MAX_BATCH)]
    parts += [_tensors("input", signature.input), _tensors("output", kept)]
    parts += [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}\n"
        for key, value in _parameters(bundle, precision)
    ]
    return "".join(parts)


def _is_per_image(value: onnx.ValueInfoProto) -> bool:
    """Say whether the first axis counts images: ``refined`` of a cascade of tiles counts tiles."""
    return bool(value.type.tensor_type.shape.dim[0].dim_param == "N")


def _tensors(kind: str, values: Sequence[onnx.ValueInfoProto]) -> str:
    return f"{kind} [\n" + ",\n".join(map(_tensor, values)) + "\n]\n"


def _tensor(value: onnx.ValueInfoProto) -> str:
    """Return one input or output without its batch axis: -1 where a side is free.

    A tensor of one number per image has no side left; Triton needs one then, and removes it.
    """
    tensor = value.type.tensor_type
    sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim[1:]]
    shown = ", ".join(map(str, sides)) or "1"
    empty = "" if sides else " reshape { shape: [ ] }"
    kind = _TYPES[tensor.elem_type]
    return f"  {{ name: {_quoted(value.name)} data_type: {kind} dims: [ {shown} ]{empty} }}"


def _parameters(bundle: Bundle, precision: str) -> Iterator[tuple[str, str]]:
    """Yield facts about the model for clients; Triton itself reads none of them."""
    spec = bundle.spec
    yield "foveate.version", foveate.__version__
    yield "foveate.manifest_sha256", str(bundle.manifest["manifest_sha256"])
    yield "foveate.precision", precision
    yield "foveate.input_type", spec.input_type
    yield "foveate.classes", json.dumps(spec.classes)
    yield "foveate.mask_threshold", str(spec.mask_threshold)
    yield "foveate.cascade", json.dumps(spec.as_dict())


def _quoted(text: str) -> str:
    """Return a string of protobuf's text format, its bytes beyond printable ASCII in octal."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').encode()
    return '"' + "".join(chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in plain) + '"'
