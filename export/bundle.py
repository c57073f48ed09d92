"""Write a trained cascade as a bundle: graphs, parity, preview and a hashed manifest."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image
from safetensors.torch import save

import foveate
from foveate.export.folding import fold_cascade
from foveate.export.image_sets import ImageSets
from foveate.export.onnx_graph.cascade import cascade_model, stage_model
from foveate.export.onnx_graph.lint import lint
from foveate.export.parity import measure
from foveate.export.source import Source
from foveate.runtime.atomic_files import make_temporary_folder
from foveate.runtime.bundle.bundle import (
    MANIFEST,
    PARITY,
    SCHEMA,
    WEIGHTS,
    file_sha256,
    graph_name,
)
from foveate.runtime.errors import BundleError
from foveate.runtime.io.overlay import draw_overlay, picture_of
from foveate.runtime.json_files import canonical_sha256
from foveate.train.data.dataset import Case
from foveate.train.reference.cascade import TorchCascade

PREVIEW = "preview.png"


@dataclass(frozen=True)
class ExportJob:
    """One call of ``foveate export``."""

    source: Source
    out: Path
    precisions: tuple[str, ...]
    images: ImageSets
    separate: bool
    progress: Callable[[str, int, int], None]


def export(job: ExportJob) -> dict[str, Any]:
    """Write the bundle and return its parity record.

    The bundle is made in a folder next to ``out`` and renamed, so a failure leaves none.
    BundleError when ``out`` exists and is not a bundle, when the graph does not pass the lint, or
    when fp32 or int8 does not give PyTorch's masks.
    """
    check_out(job.out)
    cascade = fold_cascade(job.source.cascade)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    folder = make_temporary_folder(job.out.parent)
    try:
        graphs, parity = _graphs(job, cascade)
        if not parity["fp32"]["held"]:
            raise BundleError(
                f"the fp32 graph does not give PyTorch's masks: disagreement "
                f"{parity['fp32']['disagreement']:.5f}, expected at most 0.001 "
                f"(worst image {parity['fp32']['worst_image']}). This is a defect of the exporter"
            )
        _write(folder, job, cascade, graphs, parity)
        if job.out.exists():
            shutil.rmtree(job.out)
        folder.rename(job.out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return parity


def check_out(out: Path) -> None:
    """Raise BundleError when a bundle's folder exists and is not a bundle."""
    if out.exists() and not (out / MANIFEST).exists():
        raise BundleError(f"{out} exists and is not a bundle; choose another --out")


def _graphs(
    job: ExportJob, cascade: TorchCascade
) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
    """Return the linted graphs, that of fp32 in any case, and the parity record."""
    parts = cascade.spec, cascade.stage1, cascade.stage2
    names = dict.fromkeys(("fp32", *job.precisions))
    graphs = {name: cascade_model(*parts, name) for name in names}
    run = {"fp32": graphs["fp32"].SerializeToString()}
    parity = measure(job.source.cascade, run, job.images.parity.cases, job.progress)
    if "int8" in names:
        graphs["int8"], parity["int8"] = _int8(job, cascade, graphs["int8"])
    for name, model in graphs.items():
        findings = lint(model, bool(job.source.networks))
        if findings:
            raise BundleError(f"the {name} graph does not pass the lint: {'; '.join(findings)}")
    return graphs, parity


def _int8(
    job: ExportJob, cascade: TorchCascade, model: onnx.ModelProto
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the graph in 8 bits and its parity, with as many blocks in float32 as it takes."""
    from foveate.export.int8.mixed_precision import SLACKS, BlockSearch

    calibration = job.images.calibration
    assert calibration is not None
    search = BlockSearch(model, calibration.cases, cascade.spec.input_kind, job.progress)
    for slack in SLACKS:
        found = search.run(slack)
        run = {"int8": found.model.SerializeToString()}
        parity = measure(job.source.cascade, run, job.images.parity.cases, job.progress)["int8"]
        if parity["held"]:
            return found.model, parity | {"calibration": calibration.record(), **found.record()}
    raise search.error(found, parity)


def _write(
    folder: Path,
    job: ExportJob,
    cascade: TorchCascade,
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
    if "fp32" not in job.precisions:  # else they are in its graph
        weights = {name: tensor.contiguous() for name, tensor in cascade.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(weights))
    kept = {name: parity[name] for name in parity if name in job.precisions}
    content = {"schema": SCHEMA, "measured_on": job.images.parity.source, "precisions": kept}
    if job.source.networks:
        content["networks"] = job.source.networks
    (folder / PARITY).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / PREVIEW).write_bytes(_preview(cascade, job.images.parity.cases[0]))
    _write_manifest(folder, job)


def _preview(cascade: TorchCascade, case: Case) -> bytes:
    """Return a PNG of the first parity image with its mask and boxes, at most 256 pixels a side."""
    mask, boxes = cascade.segment(case.image)
    picture = draw_overlay(picture_of(case.image, cascade.spec.channels), mask, boxes)
    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    image.thumbnail((256, 256))
    buffer = io.BytesIO()
    few = image.quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _write_manifest(folder: Path, job: ExportJob) -> None:
    manifest = {
        "schema": SCHEMA,
        **job.source.facts,
        "cascade": job.source.cascade.spec.as_dict(),
        "precisions": list(job.precisions),
        "files": {
            path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in sorted(folder.iterdir())
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
