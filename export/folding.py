"""Fold BatchNorm into convolutions, and round weights to float16."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveate.export.onnx_graph.onnx_network import OnnxNetwork
from foveate.train.networks.base import Network
from foveate.train.reference.cascade import TorchCascade


def fold_cascade(cascade: TorchCascade, rounded: bool = False) -> TorchCascade:
    """Return a cascade of folded networks, their weights rounded to float16 where ``rounded``."""
    stages = [
        None if network is None else folded(network) for network in (cascade.stage1, cascade.stage2)
    ]
    if rounded:
        stages = [None if network is None else rounded_to_half(network) for network in stages]
    stage1, stage2 = stages
    assert stage1 is not None
    return TorchCascade(cascade.spec, stage1, stage2).eval()


def folded(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with every BatchNorm folded into its convolution."""
    if isinstance(network, OnnxNetwork):
        return network.folded()
    network = copy.deepcopy(network).eval()
    if not isinstance(network, Network):
        return network
    for convolution, norm in _pairs(network).items():
        first, second = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
        _put(network, convolution, fuse_conv_bn_eval(first, second))
        # timm's BatchNormAct2d carries the activation that follows it
        _put(network, norm, getattr(second, "act", nn.Identity()))
    return network


def _pairs(network: Network) -> dict[str, str]:
    """Return the names of each convolution whose output a BatchNorm takes, and of that one."""
    makers: dict[int, str] = {}
    found: dict[str, str] = {}
    kept: list[Tensor] = []  # an address stands for a tensor only while that one lives

    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            makers[id(output)] = name
            kept.append(output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in makers:
            found[makers[id(inputs[0])]] = name

    hooks = [
        module.register_forward_hook(partial(watch, name))
        for name, module in network.named_modules()
    ]
    with torch.inference_mode():
        network(network.example())
    for hook in hooks:
        hook.remove()
    return found


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one that has a name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def rounded_to_half(network: nn.Module) -> nn.Module:
    """Return a copy whose weights are rounded to float16 and kept as float32."""
    if isinstance(network, OnnxNetwork):
        return network.rounded()
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network
