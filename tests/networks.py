"""Networks of every kind, a few steps into their training, and cascades of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from foveate.export.bundle import ExportJob, export
from foveate.export.folding import folded
from foveate.export.image_sets import Images, ImageSets
from foveate.export.source import Source
from foveate.runtime.spec import CascadeSpec
from foveate.train.data.dataset import Case
from foveate.train.fitting.losses import loss_function
from foveate.train.networks.base import Network
from foveate.train.networks.build import networks
from foveate.train.networks.ensemble import averaged
from foveate.train.reference.cascade import TorchCascade
from foveate.train.settings.network_choice import ENCODERS, NetworkChoice, Networks
from foveate.train.settings.settings import Settings
from tests.drawing import ellipse, random_network


def choice(name: str) -> NetworkChoice:
    """Return a network as small as one of its kind can be."""
    return NetworkChoice(name, 4, 3 if name in ENCODERS else 2)


def trained_cascade(spec: CascadeSpec, name: str) -> TorchCascade:
    """Return a cascade whose stages have had two steps; every class wins somewhere.

    Stage 2 begins with stage 1's weights, as in a training.
    """
    torch.manual_seed(3)
    stage1, stage2 = networks(spec, Networks(choice(name), choice(name)))
    fit(stage1, len(spec.classes) - 1)
    if stage2 is not None:
        stage2.start_from(stage1)
        fit(stage2, len(spec.classes) - 1)
    return TorchCascade(spec, stage1, stage2).eval()


def fit(network: Network, classes: int) -> None:
    """Take two steps on noise; then centre the logits, so that no class wins everywhere."""
    loss_of = loss_function(Settings())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    inputs = torch.randn(4, network.inputs, 32, 32)
    target = torch.rand(4, classes, 32, 32) / classes
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all steps: two are too few for a moving one
    network.train()
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(network(inputs), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    head = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    assert head.bias is not None
    with torch.no_grad():
        logits = network(torch.randn(2, network.inputs, 64, 64))
        head.bias -= logits.mean(dim=(0, 2, 3))


def random_ensemble(spec: CascadeSpec, members: int, flips: bool) -> TorchCascade:
    """Return the average of cascades of random weights."""
    first = [random_network(1, spec.output_channels, seed) for seed in range(members)]
    second = [random_network(2, spec.output_channels, seed) for seed in range(members)]
    stage1, stage2 = averaged(first, flips), averaged(second, flips) if spec.stage2 else None
    assert stage1 is not None
    return TorchCascade(spec, stage1, stage2).eval()


def folded_pair(cascade: TorchCascade) -> tuple[nn.Module, nn.Module | None]:
    """Return both networks as the exporter wants them."""
    stage2 = None if cascade.stage2 is None else folded(cascade.stage2)
    return folded(cascade.stage1), stage2


def exported(name: str, cascade: TorchCascade, out: Path, *precisions: str) -> Path:
    """Write a bundle of a cascade whose network has a name; its parity is measured on a drawing."""
    data = {"name": "drawn", "licence": "CC0"}
    facts = {"kind": "cascade", "network": asdict(choice(name)), "data": data}
    images = Images([Case("ellipse", ellipse(100, 140) * np.uint8(200), None)], "a drawing")
    source, sets = Source(cascade, facts, {}), ImageSets(images, None)
    export(ExportJob(source, out, precisions or ("fp32",), sets, False, lambda *step: None))
    return out
