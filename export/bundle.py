"""A trained run becomes a bundle: graphs, weights, parity, preview and a hashed manifest."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from safetensors.torch import save
from torch import nn

import foveate
from foveate.export.graph import cascade_model, stage_model
from foveate.export.lint import lint
from foveate.export.parity import measure, torch_masks
from foveate.export.precision import folded, rounded_to_half
from foveate.runtime.bundle import (
    MANIFEST,
    PARITY,
    SCHEMA,
    WEIGHTS,
    file_sha256,
    graph_name,
)
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.hashes import canonical_sha256
from foveate.runtime.overlays import draw_overlay, eight_bit
from foveate.runtime.spec import CascadeSpec
from foveate.train.cascade import TorchCascade
from foveate.train.dataset import Case
from foveate.train.run import load_run

PREVIEW = "preview.png"
EXPORTED = ("fp32", "fp16")


@dataclass(frozen=True)
class ExportJob:
    """One call of ``foveate export``. ``cases`` are the images parity is measured on.

    ``tiles`` is another number of tiles than the run has chosen, 0 for all; None leaves it.
    """

    run: Path
    out: Path
    precisions: tuple[str, ...]
    cases: Sequence[Case]
    cases_from: str
    separate: bool
    tiles: int | None
    progress: Callable[[str, int, int], None]


def export(job: ExportJob) -> dict[str, Any]:
    """Write the bundle and return its parity record.

    The bundle is made in a folder beside ``out`` and renamed, so a failure leaves none.
    BundleError when ``out`` exists and is no bundle, when the graph does not pass the lint, or
    when fp32 does not give PyTorch's masks.
    """
    unknown = [name for name in job.precisions if name not in EXPORTED]
    if unknown or not job.precisions:
        raise SettingsError(
            f"--precision {','.join(unknown)}: this version exports {', '.join(EXPORTED)}"
        )
    if job.out.exists() and not (job.out / MANIFEST).exists():
        raise BundleError(f"{job.out} exists and is not a bundle; choose another --out")
    trained, record = load_run(job.run)
    if job.tiles is not None:
        trained.spec = _with_tiles(trained.spec, job.tiles)
    cascade, rounded = _folded_cascade(trained), _rounded_cascade(trained)
    graphs = _graphs(cascade, job.precisions)
    parity = measure(trained, graphs["fp32"].SerializeToString(), rounded, job.cases, job.progress)
    if not parity["fp32"]["held"]:
        raise BundleError(
            f"the fp32 graph does not give PyTorch's masks: disagreement "
            f"{parity['fp32']['disagreement']:.5f}, wanted at most 0.001 "
            f"(worst image {parity['fp32']['worst_image']}). This is a defect of the exporter"
        )
    job.out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=job.out.parent, prefix=".foveate-"))
    try:
        _write(folder, job, cascade, record, graphs, parity)
        folder.chmod(0o755)
        if job.out.exists():
            shutil.rmtree(job.out)
        folder.rename(job.out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return parity


def _with_tiles(spec: CascadeSpec, tiles: int) -> CascadeSpec:
    """Return the description with another number of tiles; SettingsError where there are none."""
    if spec.region.mode != "tiles":
        raise SettingsError(
            f"--tiles goes with a run of region_mode=tiles; this one has {spec.region.mode}"
        )
    changed = replace(spec, region=replace(spec.region, tiles=tiles))
    try:
        changed.check()
    except BundleError as error:
        raise SettingsError(f"--tiles {tiles}: {error}") from None
    return changed


def _folded_cascade(trained: TorchCascade) -> TorchCascade:
    stage2 = None if trained.stage2 is None else folded(trained.stage2)
    return TorchCascade(trained.spec, folded(trained.stage1), stage2).eval()


def _rounded_cascade(trained: TorchCascade) -> TorchCascade:
    """Return the cascade with folded weights rounded to float16, computing in float32."""
    networks: list[nn.Module | None] = [
        None if network is None else rounded_to_half(folded(network))
        for network in (trained.stage1, trained.stage2)
    ]
    assert networks[0] is not None
    return TorchCascade(trained.spec, networks[0], networks[1]).eval()


def _graphs(cascade: TorchCascade, precisions: Sequence[str]) -> dict[str, onnx.ModelProto]:
    """Return a linted graph for fp32, which parity needs in any case, and for those asked for."""
    graphs = {}
    for precision in dict.fromkeys(("fp32", *precisions)):
        model = cascade_model(cascade.spec, cascade.stage1, cascade.stage2, precision)
        findings = lint(model)
        if findings:
            raise BundleError(
                f"the {precision} graph does not pass the lint: {'; '.join(findings)}"
            )
        graphs[precision] = model
    return graphs


def _write(
    folder: Path,
    job: ExportJob,
    cascade: TorchCascade,
    record: dict[str, Any],
    graphs: dict[str, onnx.ModelProto],
    parity: dict[str, Any],
) -> None:
    for precision in job.precisions:
        (folder / graph_name(precision)).write_bytes(graphs[precision].SerializeToString())
    if job.separate:
        for stage in ["stage1", "stage2"] if cascade.stage2 is not None else ["stage1"]:
            for precision in job.precisions:
                data = stage_model(graphs[precision], stage).SerializeToString()
                (folder / f"{stage}.{precision}.onnx").write_bytes(data)
    weights = {name: tensor.contiguous() for name, tensor in cascade.state_dict().items()}
    (folder / WEIGHTS).write_bytes(save(weights))
    kept = {name: parity[name] for name in parity if name in job.precisions}
    content = {"schema": SCHEMA, "measured_on": job.cases_from, "precisions": kept}
    (folder / PARITY).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / PREVIEW).write_bytes(_preview(cascade, job.cases[0]))
    _write_manifest(folder, job, cascade, record)


def _preview(cascade: TorchCascade, case: Case) -> bytes:
    """Return a PNG of the first parity image with its mask and boxes, at most 256 pixels a side."""
    mask, boxes = torch_masks(cascade, case.image)
    picture = draw_overlay(eight_bit(case.image), mask, boxes)
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    image.thumbnail((256, 256))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _write_manifest(
    folder: Path, job: ExportJob, cascade: TorchCascade, record: dict[str, Any]
) -> None:
    settings = record["settings"]
    manifest = {
        "schema": SCHEMA,
        "kind": record["kind"],
        "cascade": cascade.spec.as_dict(),
        "network": {"name": "unet", "width": settings["width"], "depth": settings["depth"]},
        "precisions": list(job.precisions),
        "files": {
            path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
        },
        "data": {
            "name": record["data"]["name"],
            "licence": record["data"]["licence"],
            "fingerprint": record["data"]["fingerprint"],
        },
        "training": {
            "created": record["created"],
            "run_sha256": canonical_sha256(record),
            "validation_dice": {
                name: max(row["dice"] for row in stage["curve"])
                for name, stage in record["stages"].items()
            },
        },
        "producer": {
            "foveate": foveate.__version__,
            "torch": version("torch"),
            "onnx": version("onnx"),
        },
    }
    manifest["manifest_sha256"] = canonical_sha256(manifest)
    text = json.dumps(manifest, indent=1, ensure_ascii=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
