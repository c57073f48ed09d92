"""The PyTorch cascade of a bundle, with the weights of its fp32 graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from foveate.export.folding import fold_cascade
from foveate.runtime.bundle.bundle import MANIFEST, WEIGHTS, Bundle, ensemble_of, graph_name
from foveate.runtime.errors import BundleError
from foveate.train.networks.build import networks
from foveate.train.networks.ensemble import averaged
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.run import load_weights, parse_tensors
from foveate.train.settings.network_choice import Networks

PREFIXES = ("stage1.", "stage2.")
"""How the names of the networks' weights in a graph begin; what follows is PyTorch's name."""


def torch_cascade(bundle: Bundle) -> TorchCascade:
    """Return the cascade in float32 on the CPU, in evaluation mode, its BatchNorm folded.

    BundleError when the weights are not those of the networks that the manifest describes.
    """
    choices = Networks.of_manifest(bundle.manifest["network"])
    if choices.problem():
        raise BundleError(f"{bundle.path / MANIFEST}: {choices.problem()}")
    members, flips = ensemble_of(bundle.manifest)
    pairs = [networks(bundle.spec, choices) for _ in range(members)]
    stage1, stage2 = (averaged(stages, flips) for stages in zip(*pairs, strict=True))
    assert stage1 is not None
    cascade = fold_cascade(TorchCascade(bundle.spec, stage1, stage2))
    load_weights(cascade, *_weights(bundle))
    return cascade


def _weights(bundle: Bundle) -> tuple[dict[str, Tensor], Path]:
    """Return the named weights of both networks, and the file they are from.

    A file of weights is in bundles without an fp32 graph and in those of earlier versions.
    """
    if WEIGHTS in bundle.manifest["files"]:
        path = bundle.path / WEIGHTS
        return parse_tensors(path, bundle.read(WEIGHTS)), path
    graph = onnx.load_from_string(bundle.graph("fp32")).graph
    tensors = {
        item.name: torch.from_numpy(numpy_helper.to_array(item).copy())
        for item in graph.initializer
        if item.name.startswith(PREFIXES)
    }
    return tensors, bundle.path / graph_name("fp32")
