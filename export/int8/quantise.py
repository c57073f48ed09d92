"""The two networks of a graph in 8 bits, everything around them in float32: static QDQ.

Activations are unsigned with a zero point, one scale a tensor; weights are signed without one, a
scale a channel. Signed activations would suit TensorRT, and cost too much: ``docs/decisions.md``.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx
from onnx import NodeProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from foveate.export.onnx_graph.networks import network_nodes
from foveate.runtime.arrays import Array

OPERATORS = [
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
            OPERATORS,
            augmented_model_path=str(path.with_name("augmented.onnx")),
            calibrate_method=CalibrationMethod.MinMax,
        )
        for image in images:
            feeds = iter([{"image": image}])
            calibrator.collect_data(SimpleNamespace(get_next=partial(next, feeds, None)))
        return calibrator.compute_data()


def quantise(
    model: onnx.ModelProto, ranges: TensorsData, float_blocks: Collection[str]
) -> onnx.ModelProto:
    """Return the graph with its networks in 8 bits, except ``float_blocks``."""
    members = blocks(model)
    chosen = [
        node.name
        for node in network_nodes(model)
        if members.get(node.output[0], "") not in ("", *float_blocks)
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
        op_types_to_quantize=OPERATORS,
        extra_options={"WeightSymmetric": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    found: onnx.ModelProto = quantizer.model.model
    onnx.checker.check_model(found, full_check=True)
    return found


def block_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of the blocks of the networks, in the order of the graph."""
    return list(dict.fromkeys(filter(None, blocks(model).values())))


def blocks(model: onnx.ModelProto) -> dict[str, str]:
    """Return output -> block of each node of the networks, such as stage1.encoder.0.

    A block is one or a few convolutions, named as in PyTorch; what follows a
    convolution belongs to it, but from a MaxPool or Concat on to the convolution behind.
    """
    found: dict[str, str] = {}
    waiting: list[str] = []
    block = ""
    for node in network_nodes(model):
        if node.op_type == "Conv":
            block = _block(node)
            found |= dict.fromkeys([*waiting, node.output[0]], block)
            waiting = []
        elif waiting or node.op_type in ("MaxPool", "Concat"):
            waiting.append(node.output[0])
        elif node.op_type not in ("Identity", "Cast"):
            found[node.output[0]] = block
    return found


def _block(node: NodeProto) -> str:
    """Return the block of a convolution: its name without its number in the block.

    The members of an ensemble are quantised alike: the same layers of all are one block.
    """
    parts = re.sub(r"\.members\.\d+", "", node.input[1]).removesuffix(".weight").split(".")
    return ".".join(parts[: max(3, len(parts) - 1)])
