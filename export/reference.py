"""The PyTorch cascade of a bundle, from the weights that lie beside its graphs."""

from __future__ import annotations

from foveate.export.folding import folded
from foveate.runtime.bundle.bundle import MANIFEST, WEIGHTS, Bundle
from foveate.runtime.errors import BundleError
from foveate.train.cascade import TorchCascade
from foveate.train.network_choice import NetworkChoice
from foveate.train.networks import networks
from foveate.train.run import load_weights, parse_tensors


def torch_cascade(bundle: Bundle) -> TorchCascade:
    """Return the cascade in float32 on the CPU, in evaluation mode, its BatchNorm folded.

    BundleError when the weights are not those of the networks that the manifest describes.
    """
    choice = NetworkChoice.of_manifest(bundle.manifest["network"])
    if choice.problem():
        raise BundleError(f"{bundle.path / MANIFEST}: {choice.problem()}")
    stage1, stage2 = networks(bundle.spec, choice)
    fused = None if stage2 is None else folded(stage2)
    cascade = TorchCascade(bundle.spec, folded(stage1), fused)
    path = bundle.path / WEIGHTS
    load_weights(cascade, parse_tensors(path, bundle.read(WEIGHTS)), path)
    return cascade.eval()
