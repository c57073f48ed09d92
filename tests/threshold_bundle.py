"""A bundle whose networks are thresholds: sound, loadable, and its engine costs next to nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foveate
from foveate.runtime.bundle.bundle import MANIFEST, SCHEMA, file_sha256, graph_name
from foveate.runtime.json_files import canonical_sha256
from foveate.runtime.spec import GREY, CascadeSpec, Normalisation, Size

if TYPE_CHECKING:
    from torch import nn

SIDE = 64


def write_threshold_bundle(
    folder: Path,
    side: int = SIDE,
    channels: int = 1,
    input_type: str = "uint8",
    window: tuple[float, float] | None = None,
    images: str = GREY,
) -> Path:
    """Write a bundle whose mask is where the image is over half its range; return its folder.

    Both stages are ``side`` pixels wide and high. With more than one channel there are so many
    classes, all alike. Of ``images`` of several channels the last one counts.
    """
    from tests.drawing import threshold_network  # a machine with a GPU may lack what it imports

    spec = CascadeSpec(
        input_type=input_type,
        stage1=Size(side, side),
        stage2=Size(side, side),
        classes=("background", *("bright" + "+" * n for n in range(max(1, channels - 1)))),
        normalisation=Normalisation("constants", 0.0, 1.0),
        window=window,
        channels=images,
    )
    network = {"name": "threshold", "width": 1, "depth": 0}
    count = spec.input_channels
    stages = (
        threshold_network(inputs, outputs=channels, channel=count - 1)
        for inputs in (count, count + 1)
    )
    write_bundle(folder, spec, network, *stages)
    return folder


def write_bundle(
    folder: Path,
    spec: CascadeSpec,
    network: Mapping[str, Any],
    stage1: nn.Module,
    stage2: nn.Module,
) -> None:
    """Write a float32 bundle of two networks, of no data and no training."""
    from foveate.export.onnx_graph.cascade import cascade_model

    folder.mkdir(parents=True, exist_ok=True)
    graph = folder / graph_name("fp32")
    model = cascade_model(spec, stage1, stage2, "fp32")
    graph.write_bytes(model.SerializeToString())
    manifest = {
        "schema": SCHEMA,
        "kind": "cascade",
        "cascade": spec.as_dict(),
        "network": network,
        "precisions": ["fp32"],
        "files": {graph.name: {"sha256": file_sha256(graph), "bytes": graph.stat().st_size}},
        "data": {"name": "none", "licence": "CC0", "fingerprint": ""},
        "training": {},
        "producer": {"foveate": foveate.__version__},
    }
    manifest["manifest_sha256"] = canonical_sha256(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
