"""The PyTorch cascade of a bundle, with the weights of its fp32 graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from foveate.export.folding import fold_cascade
from foveate.export.onnx_graph.cascade import stage_model
from foveate.export.onnx_graph.networks import STAGES
from foveate.export.onnx_graph.onnx_network import OnnxNetwork
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

    Imported networks are cut out of the fp32 graph and run by ONNX Runtime.
    BundleError when the weights are not those of the networks that the manifest describes.
    """
    if "imported" in bundle.manifest["network"]:
        return _imported(bundle)
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


def _imported(bundle: Bundle) -> TorchCascade:
    model = onnx.load_from_string(bundle.graph("fp32"))
    stages = STAGES[: 1 if bundle.spec.stage2 is None else 2]
    stage1, stage2 = [*(OnnxNetwork(stage_model(model, stage)) for stage in stages), None][:2]
    assert stage1 is not None
    return TorchCascade(bundle.spec, stage1, stage2).eval()


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
