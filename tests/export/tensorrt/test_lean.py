"""What the graph holds at a time: no float plane of the image's size but the image itself."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from torch import nn

from foveate.export.onnx_graph.cascade import cascade_model
from tests.drawing import threshold_network, threshold_spec

SIDE = 2500
BYTES = {"float": 4, "float16": 2, "int32": 4, "int64": 8, "uint8": 1, "bool": 1}


def largest(graph: bytes, folder: Path) -> dict[str, float]:
    """Return operator -> bytes a pixel of the largest tensor that one of its nodes writes."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, SIDE, SIDE), np.uint8)
    image[:, 300:2000, 500:2100] = 255
    session.run(["mask"], {"image": image})
    found: dict[str, float] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        facts = event.get("args", {})
        for item in facts.get("output_type_shape", []):
            for kind, shape in item.items():
                size = BYTES[kind] * prod(shape) / SIDE**2
                found[facts["op_name"]] = max(found.get(facts["op_name"], 0.0), size)
    return found


@pytest.mark.parametrize(("classes", "limit"), [(1, 1.1), (2, 2.1), (19, 8.6)])
def test_only_the_image_itself_is_ever_a_whole_float_plane(
    classes: int, limit: float, tmp_path: Path
) -> None:
    """19 classes: the 20 probabilities on 256 rows of this image's width are 8.2 bytes a pixel."""
    spec = replace(threshold_spec(), classes=tuple(str(label) for label in range(classes + 1)))
    networks = [threshold_network(inputs) for inputs in (1, 2)]
    if classes > 1:
        networks = [nn.Conv2d(inputs, spec.output_channels, 1).eval() for inputs in (1, 2)]
    found = largest(cascade_model(spec, *networks, "fp32").SerializeToString(), tmp_path)
    assert found.pop("Cast") == pytest.approx(4)
    found.pop("Flatten")  # the same memory under another shape
    assert max(found.values()) <= limit
