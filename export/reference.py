"""The PyTorch cascade of a bundle, from the weights that lie beside its graphs."""

from __future__ import annotations

from foveate.export.precision import folded
from foveate.runtime.bundle import MANIFEST, WEIGHTS, Bundle
from foveate.runtime.errors import BundleError
from foveate.train.cascade import TorchCascade
from foveate.train.run import MAX_DEPTH, MAX_WIDTH, load_weights, networks, parse_tensors


def torch_cascade(bundle: Bundle) -> TorchCascade:
    """Return the cascade in float32 on the CPU, in evaluation mode, its BatchNorm folded.

    BundleError when the weights are not those of the networks that the manifest describes.
    """
    width, depth = bundle.manifest["network"]["width"], bundle.manifest["network"]["depth"]
    if not (1 <= width <= MAX_WIDTH and 1 <= depth <= MAX_DEPTH):
        raise BundleError(
            f"{bundle.folder / MANIFEST}: width {width}, depth {depth}; wanted 1 to {MAX_WIDTH} "
            f"and 1 to {MAX_DEPTH}"
        )
    stage1, stage2 = networks(bundle.spec, width, depth)
    fused = None if stage2 is None else folded(stage2)
    cascade = TorchCascade(bundle.spec, folded(stage1), fused)
    path = bundle.folder / WEIGHTS
    load_weights(cascade, parse_tensors(path, bundle.read(WEIGHTS)), path)
    return cascade.eval()
