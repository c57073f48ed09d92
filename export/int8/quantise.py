"""The two networks of a graph in 8 bits, everything around them in float32: static QDQ.

Activations are unsigned with a zero point, one scale a tensor; weights are signed without one, a
scale a channel. Signed activations would suit TensorRT, and cost too much: ``docs/decisions.md``.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from foveate.export.onnx_graph.layers import blocks, nodes_of_networks
from foveate.runtime.engines.base import Array

QUANTISED = [
    "Conv", "Relu", "MaxPool", "Concat", "DepthToSpace", "Add", "Mul", "Sigmoid", "Clip",
    "GlobalAveragePool", "Pad", "Resize",
]  # fmt: skip
"""The operators of the networks; those of the same name outside them are left alone."""


def value_ranges(model: onnx.ModelProto, images: Iterable[Array]) -> TensorsData:
    """Return the least and largest value of each tensor of the networks over all images.

    ``images`` are as the graph takes them. Memory is that of one image.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            QUANTISED,
            augmented_model_path=str(path.with_name("augmented.onnx")),
            calibrate_method=CalibrationMethod.MinMax,
        )
        for image in images:
            feeds = iter([{"image": image}])
            calibrator.collect_data(SimpleNamespace(get_next=partial(next, feeds, None)))
        return calibrator.compute_data()


def quantised(
    model: onnx.ModelProto, ranges: TensorsData, in_float: Collection[str]
) -> onnx.ModelProto:
    """Return the graph with its networks in 8 bits, but for the blocks named in ``in_float``."""
    members = blocks(model)
    chosen = [
        node.name
        for node in nodes_of_networks(model)
        if members.get(node.output[0], "") not in ("", *in_float)
    ]
    quantizer = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=chosen,
        nodes_to_exclude=[],
        op_types_to_quantize=QUANTISED,
        extra_options={"WeightSymmetric": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    found: onnx.ModelProto = quantizer.model.model
    onnx.checker.check_model(found, full_check=True)
    return found
