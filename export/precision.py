"""The networks inside the graph: BatchNorm folded, written for float32, float16 or int8."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveate.export.operators import GraphWriter
from foveate.train.unet import UNet


def folded(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with every BatchNorm folded into its convolution."""
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index in range(len(block) - 1):
            first, second = block[index], block[index + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(first, second)
                block[index + 1] = nn.Identity()
    return network


def rounded_to_half(network: nn.Module) -> nn.Module:
    """Return a copy whose weights are rounded to float16 and kept as float32."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network


def network_nodes(
    w: GraphWriter, network: nn.Module, source: str, target: str, prefix: str, precision: str
) -> None:
    """Write a folded network from tensor ``source`` to tensor ``target``, both float32.

    In fp16 a cast goes in front of the network and one behind it, and everything between them,
    weights included, is float16. For int8 the network is float32 still, but without transposed
    convolutions: ``export.quantised`` makes 8 bits of it.
    """
    half = precision == "fp16"
    kind = _NetworkOf1x1 if precision == "int8" else _NetworkWriter
    writer = kind(w, prefix, np.dtype(np.float16 if half else np.float32))
    x = w.op("Cast", source, to=TensorProto.FLOAT16) if half else source
    if isinstance(network, UNet):
        x = writer.unet(network, x)
    elif isinstance(network, nn.Conv2d):
        x = writer.convolution(network, x, "head")
    else:
        raise TypeError(f"no way to export a {type(network).__name__}")
    if half:
        w.op("Cast", x, name=target, to=TensorProto.FLOAT)
    else:
        w.op("Identity", x, name=target)


class _NetworkWriter:
    """Writes the modules of one network under one prefix and one element type."""

    def __init__(self, w: GraphWriter, prefix: str, dtype: np.dtype[np.floating]) -> None:
        self.w, self.prefix, self.dtype = w, prefix, dtype

    def unet(self, network: UNet, x: str) -> str:
        skips = []
        for level, block in enumerate(network.encoder):
            if level:
                x = self.w.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = self.block(block, x, f"encoder.{level}")
            skips.append(x)
        for level in reversed(range(network.depth)):
            up = network.up[level]
            assert isinstance(up, nn.ConvTranspose2d)
            x = self.up(up, x, f"up.{level}")
            x = self.w.op("Concat", skips[level], x, axis=1)
            x = self.block(network.decoder[level], x, f"decoder.{level}")
        return self.convolution(network.head, x, "head")

    def block(self, block: nn.Module, x: str, name: str) -> str:
        """Write the convolutions of a double convolution, each with its ReLU."""
        for index, module in enumerate(block.children()):
            if isinstance(module, nn.Conv2d):
                x = self.w.op("Relu", self.convolution(module, x, f"{name}.{index}"))
            elif not isinstance(module, nn.Identity | nn.ReLU):
                raise TypeError(f"{name} holds a {type(module).__name__}; fold the network first")
        return x

    def convolution(self, module: nn.Conv2d, x: str, name: str) -> str:
        side = module.kernel_size[0]
        return self.w.op(
            "Conv", x, *self.weights(module, name), kernel_shape=[side, side],
            pads=[side // 2] * 4,
        )  # fmt: skip

    def up(self, module: nn.ConvTranspose2d, x: str, name: str) -> str:
        return self.w.op(
            "ConvTranspose", x, *self.weights(module, name), kernel_shape=[2, 2], strides=[2, 2]
        )

    def weights(self, module: nn.Conv2d | nn.ConvTranspose2d, name: str) -> list[str]:
        """Store weight and bias and return their names."""
        names = []
        for kind in ("weight", "bias"):
            values = _values(module, kind)
            if self.dtype == np.float16 and np.abs(values).max(initial=0) > 65504:
                raise ValueError(f"{self.prefix}.{name}.{kind} does not fit float16")
            names.append(self.w.array(values.astype(self.dtype), f"{self.prefix}.{name}.{kind}"))
        return names


class _NetworkOf1x1(_NetworkWriter):
    """Writes a transposed convolution of 2 x 2 as one of 1 x 1 that gives four times the channels.

    ONNX Runtime has no transposed convolution in 8 bits.
    """

    def up(self, module: nn.ConvTranspose2d, x: str, name: str) -> str:
        weight, bias = _values(module, "weight"), _values(module, "bias")
        weight = weight.transpose(1, 2, 3, 0).reshape(-1, len(weight), 1, 1)
        parts = {"weight": np.ascontiguousarray(weight), "bias": np.repeat(bias, 4)}
        names = [self.w.array(part, f"{self.prefix}.{name}.{kind}") for kind, part in parts.items()]
        wide = self.w.op("Conv", x, *names, kernel_shape=[1, 1], pads=[0] * 4)
        return self.w.op("DepthToSpace", wide, blocksize=2, mode="CRD")


def _values(module: nn.Module, kind: str) -> npt.NDArray[np.float32]:
    tensor = getattr(module, kind)
    assert tensor is not None, "fold the network first"
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
