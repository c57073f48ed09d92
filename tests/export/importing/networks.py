"""Networks as others train them, with random but sensible weights, and their ONNX files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from foveate.train.networks.encoders import models

SIDE = 64


class PlainUNet(nn.Module):
    """A U-Net as tutorials have it, with bilinear upsampling."""

    def __init__(self, inputs: int = 1, outputs: int = 1) -> None:
        super().__init__()
        self.top, self.low = _block(inputs, 8), _block(8, 16)
        self.back, self.head = _block(24, 8), nn.Conv2d(8, outputs, 1)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, x: Tensor) -> Tensor:
        top = self.top(x)
        joined = torch.cat([self.up(self.low(self.pool(top))), top], dim=1)
        logits: Tensor = self.head(self.back(joined))
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, affine=True),
        nn.LeakyReLU(),
    )  # fmt: skip


class Centred(nn.Module):
    """A network whose logits are spread around 0, so that every class wins somewhere."""

    def __init__(self, network: nn.Module, channels: int, end: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.end = network.eval(), end or nn.Identity()
        with torch.no_grad():
            made = self._maps(torch.randn(2, channels, SIDE, SIDE))
        self.mean = made.mean(dim=(0, 2, 3), keepdim=True)
        self.deviation = made.std(dim=(0, 2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.end((self._maps(x) - self.mean) / self.deviation * 3)
        return made

    def _maps(self, x: Tensor) -> Tensor:
        made: Any = self.network(x)
        maps: Tensor = made["out"] if isinstance(made, dict) else made
        return maps


def _torchvision(name: str, **options: Any) -> nn.Module:
    models()
    from torchvision.models import segmentation

    network: nn.Module = getattr(segmentation, name)(weights=None, weights_backbone=None, **options)
    return network


def _smp(name: str, encoder: str, channels: int, classes: int) -> nn.Module:
    network: nn.Module = getattr(models(), name)(
        encoder, encoder_weights=None, in_channels=channels, classes=classes
    )
    return network


ZOO: dict[str, tuple[int, int, Callable[[], nn.Module]]] = {
    "plain": (1, 1, PlainUNet),
    "smp Unet": (1, 1, lambda: _smp("Unet", "resnet18", 1, 1)),
    "smp FPN": (3, 3, lambda: _smp("FPN", "efficientnet-b0", 3, 3)),
    "smp DeepLabV3Plus": (3, 2, lambda: _smp("DeepLabV3Plus", "mobilenet_v2", 3, 2)),
    "torchvision FCN": (3, 2, lambda: _torchvision("fcn_resnet50", num_classes=2)),
    "torchvision LR-ASPP": (
        3, 2, lambda: _torchvision("lraspp_mobilenet_v3_large", num_classes=2)
    ),
    "torchvision DeepLabV3": (
        3, 3, lambda: _torchvision("deeplabv3_mobilenet_v3_large", num_classes=3)
    ),
}  # fmt: skip
"""Name -> channels of the input, maps of the output, and what makes the network."""


def network(name: str, end: nn.Module | None = None) -> Centred:
    """Return a network of the zoo in evaluation mode, with BatchNorm statistics of its own."""
    torch.manual_seed(7)
    channels, _, make = ZOO[name]
    made = make()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    return Centred(made, channels, end).eval()


def export_onnx(
    module: nn.Module,
    path: Path,
    channels: int,
    opset: int = 18,
    dynamic: bool = False,
    dynamo: bool = False,
) -> Path:
    """Write a module as ONNX by PyTorch's exporter of today, or the one before it."""
    axes = {"image": {0: "n", 2: "h", 3: "w"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(1, channels, SIDE, SIDE),), path, dynamo=dynamo,
            opset_version=opset, input_names=["image"], dynamic_axes=axes,
        )  # fmt: skip
    return path


def keras_like(path: Path) -> Path:
    """Write a network as converters of Keras do: N H W C outside, N C H W inside, a Softmax."""
    rng = np.random.default_rng(5)
    first = rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32)
    last = rng.normal(0, 1, (3, 8, 1, 1)).astype(np.float32)
    norm = [np.full(8, value, np.float32) for value in (1.2, 0.1, 0.05, 0.8)]
    names = ("scale", "shift", "mean", "variance")
    weights = [numpy_helper.from_array(v, n) for v, n in zip(norm, names, strict=True)]
    weights += [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")]
    nodes = [
        helper.make_node("Transpose", ["image"], ["inner"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["inner", "first"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv", *names], ["normal"]),
        helper.make_node("Relu", ["normal"], ["relu"]),
        helper.make_node("Conv", ["relu", "last"], ["logits"]),
        helper.make_node("Transpose", ["logits"], ["outer"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["outer"], ["probabilities"], axis=-1),
    ]
    return write_model(path, nodes, ["N", SIDE, SIDE, 3], weights, "probabilities")


def write_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    sides: list[int | str] | None,
    weights: Sequence[TensorProto] = (),
    output: str = "out",
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write nodes from the input ``image`` to an output as an ONNX file."""
    given = helper.make_tensor_value_info("image", kind, sides)
    made = helper.make_tensor_value_info(output, kind, None)
    graph = helper.make_graph(nodes, "network", [given], [made], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    model.producer_name = "by hand"
    onnx.save(model, path)
    return path
