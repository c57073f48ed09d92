"""The model for Triton: read by Triton's own schema, held against the graph, run as it says.

No server runs here. What its ONNX Runtime backend checks when it loads a model is repeated below.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2

from foveate.export.folding import folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.triton import MAX_BATCH, model_config, write_triton_model
from foveate.runtime.arrays import as_input_type
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.errors import SettingsError
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.spec import CascadeSpec
from tests.conftest import run
from tests.drawing import random_network, small_spec, threshold_spec, tiled

ROOT = Path(__file__).parents[2]
DEMO, USGRA = ROOT / "benchmarks" / "demo_bundle", ROOT / "examples" / "usgra"
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
Array = npt.NDArray[Any]


def read_config(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def type_name(tensor: Any) -> str:
    return str(model_config_pb2.DataType.Name(tensor.data_type))


def sides(tensor: Any) -> list[int]:
    """Return the sides that Triton compares with the graph's: those of ``reshape`` go first."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def hold_to_the_graph(config: Any, session: onnxruntime.InferenceSession) -> None:
    """Assert what the backend wants: all inputs, known outputs, types, sides, a free first axis."""
    graph = {item.name: item for item in (*session.get_inputs(), *session.get_outputs())}
    assert [item.name for item in config.input] == [item.name for item in session.get_inputs()]
    for tensor in (*config.input, *config.output):
        declared = [side if isinstance(side, int) else -1 for side in graph[tensor.name].shape]
        assert declared == [-1, *sides(tensor)], tensor.name
        assert TYPES[graph[tensor.name].type] == type_name(tensor)
        assert len(tensor.dims) > 0, "Triton takes no tensor without a side"


def runs(model: Path, images: Sequence[Array]) -> dict[str, Array]:
    """Return what the model gives for a batch that is made as its config says."""
    config = read_config((model / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    hold_to_the_graph(config, session)
    (tensor,) = config.input
    kind = np.dtype({"TYPE_UINT8": np.uint8}[type_name(tensor)])
    stated = config.parameters["foveate.input_type"].string_value
    count = images[0].shape[2] if images[0].ndim == 3 else 1
    batch = np.stack([as_input_type(image, stated, count) for image in images])
    batch = batch.view(kind).reshape(*batch.shape, 2) if stated == "uint16" else batch
    assert batch.dtype == kind and len(batch) <= config.max_batch_size
    assert all(want in (-1, got) for want, got in zip(tensor.dims, batch.shape[1:], strict=True))
    names = [item.name for item in config.output]
    found = dict(zip(names, session.run(names, {tensor.name: batch}), strict=True))
    for item in config.output:
        shape = found[item.name].shape
        assert shape[0] == len(batch), "Triton cuts every output into as many parts as images"
        assert all(a in (-1, b) for a, b in zip(sides(item), shape[1:], strict=True)), item.name
    return found


def test_its_masks_are_the_command_lines(data: Path, tmp_path: Path) -> None:
    assert run("export", DEMO, "--triton", tmp_path / "models").exit_code == 0
    options = ("--engine", "onnxruntime", "--precision", "fp32", "--out", tmp_path / "masks")
    paths = image_paths(data / "images")[:3]
    assert run("segment", DEMO, *paths, *options).exit_code == 0
    for count in (1, 3):
        model = tmp_path / "models" / DEMO.name
        found = runs(model, [read_image(path) for path in paths[:count]])
        for path, mask in zip(paths, found["mask"], strict=False):
            png = np.asarray(Image.open(tmp_path / "masks" / f"{path.stem}.png"))
            np.testing.assert_array_equal(mask, png)
    assert found["mask"].any()


SPECS = {
    "box": small_spec("uint16", 2),
    "one network": small_spec("uint8", 3, single=True),
    "its own size": replace(small_spec("uint8", 1, single=True), pad_multiple=4),
    "tiles": tiled(small_spec("uint8", 1), 3, 0.25),
    "all tiles": tiled(threshold_spec(), 0, 0.5),
    "rgb": small_spec(channels="rgb"),
    "tiles of 4 channels of 16 bits": tiled(small_spec("uint16", channels="4"), 3, 0.25),
}


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_cascade(name: str, tmp_path: Path) -> None:
    """Also where an output counts tiles and not images: that one is left out."""
    spec: CascadeSpec = SPECS[name]
    count, outputs = spec.input_channels, spec.output_channels
    stage1 = folded(random_network(count, outputs, 1))
    stage2 = None if spec.stage2 is None else folded(random_network(count + 1, outputs, 2))
    graph = cascade_model(spec, stage1, stage2, "fp32")
    bundle = replace(open_bundle(DEMO), spec=spec)
    model = tmp_path / "a-model"
    (model / "1").mkdir(parents=True)
    data = graph.SerializeToString()
    (model / "1" / "model.onnx").write_bytes(data)
    (model / "config.pbtxt").write_text(model_config("a-model", bundle, "fp32", data))
    shape = (2, 90, 130, *((count,) if count > 1 else ()))
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = runs(model, list(images))
    tiles = spec.region.mode == "tiles"
    assert set(found) == {"mask", "box", "score", "coarse"} | (set() if tiles else {"refined"})


def test_what_the_config_says(tmp_path: Path) -> None:
    spec = replace(open_bundle(USGRA).spec, classes=('a "b" \\ c', "é", "line\nbreak"))
    bundle = replace(open_bundle(USGRA), spec=spec)
    config = read_config(model_config("usgra", bundle, "fp32", bundle.graph("fp32")))
    assert (config.name, config.backend) == ("usgra", "onnxruntime")
    assert config.max_batch_size == MAX_BATCH and config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert [(group.kind, group.count) for group in config.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_AUTO, 1)
    ]
    (gpu,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (gpu.name, dict(gpu.parameters)) == ("cuda", {"use_tf32": "0"})
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert json.loads(said["foveate.classes"]) == list(spec.classes)
    assert CascadeSpec.from_dict(json.loads(said["foveate.cascade"])) == spec
    assert float(said["foveate.mask_threshold"]) == spec.mask_threshold
    assert said["foveate.manifest_sha256"] == bundle.manifest["manifest_sha256"]


def test_names_and_what_is_there_already(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "my lung (v2).bundle"))
    folder = write_triton_model(open_bundle(copy), "fp16", tmp_path / "models")
    assert folder == tmp_path / "models" / "my_lung__v2_"
    assert read_config((folder / "config.pbtxt").read_text()).name == folder.name
    assert (folder / "1" / "model.onnx").read_bytes() == (copy / "cascade.fp16.onnx").read_bytes()
    with pytest.raises(SettingsError, match="my_lung__v2_: exists; remove it"):
        write_triton_model(open_bundle(copy), "fp32", tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]


def test_a_run_becomes_a_bundle_and_a_model(trained: Path, tmp_path: Path) -> None:
    result = run("export", trained, "--out", tmp_path / "b.bundle", "--triton", tmp_path / "models")
    assert result.exception is None, result.output
    graph = (tmp_path / "b.bundle" / "cascade.fp32.onnx").read_bytes()
    assert (tmp_path / "models" / "b" / "1" / "model.onnx").read_bytes() == graph


def test_options_that_do_not_go_together(trained: Path, tmp_path: Path) -> None:
    assert "expected --out BUNDLE, --triton REPO" in str(run("export", DEMO).exception)
    none = run("export", DEMO, "--triton", tmp_path / "models", "--precision", " ,")
    assert "--precision is empty" in str(none.exception)
    only = ("--triton", tmp_path / "models")
    assert "is not a bundle; --triton without" in str(run("export", trained, *only).exception)
    assert "--separate goes with --out" in str(run("export", DEMO, *only, "--separate").exception)
    assert not (tmp_path / "models").exists()
