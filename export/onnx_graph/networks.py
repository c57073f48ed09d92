"""The networks inside the graph, written for float32, float16 or int8."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from torch import nn

from foveate.export.onnx_graph.network_operators import NetworkOperators, OperatorsFor8Bits, Weight
from foveate.export.onnx_graph.traced import write_network
from foveate.export.onnx_graph.writer import GraphWriter
from foveate.train.network import Network


def network_nodes(
    w: GraphWriter, network: nn.Module, source: str, target: str, prefix: str, precision: str
) -> None:
    """Write a folded network from tensor ``source`` to tensor ``target``, both float32.

    In fp16 a cast goes in front of the network and one behind it, and everything between them,
    weights included, is float16. For int8 the network is float32 still, but without transposed
    convolutions: ``export.int8.quantise`` makes 8 bits of it.
    """
    half = precision == "fp16"
    kind = OperatorsFor8Bits if precision == "int8" else NetworkOperators
    operators = kind(w, np.dtype(np.float16 if half else np.float32))
    x = w.op("Cast", source, to=TensorProto.FLOAT16) if half else source
    if isinstance(network, Network):
        x = write_network(network, operators, x, prefix)
    elif isinstance(network, nn.Conv2d):
        x = operators.conv2d(x, *_head(network, prefix))
    else:
        raise TypeError(f"no way to export a {type(network).__name__}")
    if half:
        w.op("Cast", x, name=target, to=TensorProto.FLOAT)
    else:
        w.op("Identity", x, name=target)


def _head(network: nn.Conv2d, prefix: str) -> tuple[Weight, Weight]:
    """Return weight and bias of a network that is a single convolution of 1 x 1."""
    assert network.bias is not None
    weight, bias = (
        np.asarray(values.detach().cpu().numpy(), np.float32)
        for values in (network.weight, network.bias)
    )
    return Weight(f"{prefix}.head.weight", weight), Weight(f"{prefix}.head.bias", bias)
