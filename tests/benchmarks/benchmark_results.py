"""Sound results of every kind, made up: what a benchmark would write, without measuring."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from foveate.benchmarks.measure.timing import distribution, ratio

VARIANT = "onnxruntime fp32"


def seconds(median: float, count: int = 40, noise: float = 0.01, seed: int = 0) -> Any:
    """Return seconds of runs about a median, with a tail to the right."""
    draw = np.random.default_rng(seed)
    return median * np.exp(np.abs(draw.normal(0, noise, count)) - noise * 0.67)


def times(values: Any) -> dict[str, Any]:
    """Return Times as they stand in JSON."""
    found = asdict(distribution(values))
    return {**found, "samples_ms": list(found["samples_ms"])}


def parity(**changes: Any) -> dict[str, Any]:
    """Return the parity of a variant that is held."""
    row = {
        "reference": "PyTorch fp32", "images": 12, "disagreement": 0.00012,
        "disagreement_bound": 0.001, "dice": 0.9134, "dice_reference": 0.9135,
        "dice_change": -0.0001, "dice_change_bound": 0.005, "emptiness_flips": [],
        "moved_boxes": [], "worst_image": "case_07", "worst_disagreement": 0.0009, "held": True,
    }  # fmt: skip
    return {**row, **changes}


def result(kind: str, results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a whole result file of a kind."""
    made = {
        "schema": 1,
        "kind": kind,
        "created": "2025-05-04T10:20:30+00:00",
        "command": f"foveate benchmark {kind} lung.bundle scans --out {kind}.json",
        "foveate": {"version": "0.1.0", "commit": "0b85c35" + 33 * "0", "changed": False},
        "machine": {
            "cpu": "A Processor 9000", "cpu_flags": ["avx2", "fma"], "cores": 2, "memory_gb": 15.6,
            "governor": None, "gpus": [], "system": "Linux", "kernel": "6.1", "architecture": "x86",
        },
        "versions": {"python": "3.11.2", "numpy": "2.1.0", "onnxruntime": "1.20.1"},
        "model": {
            "name": "lung.bundle", "sha256": "ab" * 32, "graphs": {"cascade.fp32.onnx": "cd" * 32},
            "network": {"width": 8, "depth": 3}, "stage1": [256, 256], "stage2": [256, 256],
            "own_size": False, "classes": ["background", "lesion"], "input_type": "uint8",
            "data": {},
        },
        "data": {
            "name": "scans", "images": 12, "sizes": [[768, 1024]], "truth": True,
            "fingerprint": "ef" * 32,
        },
        "settings": {"rounds": 40, "threads": 0},
        "parity": {VARIANT: parity()},
        "results": results,
        "warnings": [],
    }  # fmt: skip
    return {**made, **changes}


def parity_result() -> dict[str, Any]:
    each = [{
        "name": "case_07", "disagreement": 0.0009, "differing_pixels": 31, "flip": False,
        "moved": False, "dice": 0.91, "dice_reference": 0.911,
    }]  # fmt: skip
    results = {
        "reference": "PyTorch fp32",
        "variants": {VARIANT: {**parity(), "each": each}},
        "skipped": {"openvino fp32": "openvino is not installed"},
    }
    return result("parity", results)


def latency_row(batch: int = 1, base: float = 0.0432, seed: int = 1) -> dict[str, Any]:
    """Return a row whose stages add up and whose clock on the wall agrees."""
    raw = seconds(base, seed=seed)
    call = raw * (1.02 + 0.01 * np.random.default_rng(seed).random(len(raw)))
    stages = {
        "decode": seconds(base * 0.16, seed=seed + 1), "h2d": seconds(base * 0.002, seed=seed + 2),
        "execute": seconds(base * 1.02, seed=seed + 3), "d2h": seconds(base * 0.004, seed=seed + 4),
        "encode": seconds(base * 0.07, seed=seed + 5),
    }  # fmt: skip
    whole = np.sum(list(stages.values()), axis=0) * 1.01
    return {
        "variant": VARIANT, "engine": "onnxruntime", "precision": "fp32", "threads": 2,
        "batch": batch, "height": 768, "width": 1024, "warm_up": {"runs": 7, "stable": True},
        "call": times(call), "raw": times(raw), "overhead": asdict(ratio(call, raw)),
        "own": {"median": 0.01, "low": 0.005, "high": 0.02},
        "stages": {name: times(values) for name, values in stages.items()},
        "whole": times(whole), "elapsed_s": float(whole.sum() * 1.002), "memory_mb": 213.4,
    }  # fmt: skip


def load(rate: float, service: float = 0.044) -> dict[str, Any]:
    """Return an offered load whose response grows towards the most the model can do."""
    used = min(0.99, rate * service)
    work = seconds(service, 60, seed=int(rate))
    waiting = np.random.default_rng(int(rate)).exponential(service * used / (1 - used) / 2, 60)
    return {
        "variant": VARIANT, "rate": rate, "requests": 60, "response": times(work + waiting),
        "service": times(work), "queue_max": int(4 * used), "utilisation": used,
        "achieved_rate": rate * 0.998,
    }  # fmt: skip


def latency_result() -> dict[str, Any]:
    cold = {
        "variant": VARIANT, "runs": 5, "python_ms": 21.0, "import_ms": 160.0, "load_ms": 95.5,
        "first_mask_ms": 61.7, "whole_ms": 338.2, "import_mb": 61.0, "load_mb": 48.0,
        "peak_mb": 214.0,
    }  # fmt: skip
    results = {
        "rows": [latency_row(), latency_row(batch=4, base=0.161, seed=20)],
        "cold_start": [cold],
        "offered_load": [load(5.0), load(12.0), load(20.0)],
        "skipped": {"tensorrt fp16": "no GPU here"},
    }
    return result("latency", results)


def grid_row(batch: int, workers: int, rate: float) -> dict[str, Any]:
    raw = rate * 1.03
    share = {"median": rate / raw, "low": rate / raw - 0.02, "high": rate / raw + 0.02}
    return {
        "variant": VARIANT, "batch": batch, "workers": workers, "threads": 2 // workers,
        "images_per_second": rate, "raw_images_per_second": raw, "share": share,
    }  # fmt: skip


def throughput_result() -> dict[str, Any]:
    stages = {
        "decode": {"core_ms": 6.9, "images_per_second": 289.9},
        "engine": {"core_ms": 81.2, "images_per_second": 24.6},
        "encode": {"core_ms": 3.1, "images_per_second": 645.2},
    }
    files = {
        "variant": VARIANT, "batch": 1, "images": 48, "height": 768, "width": 1024,
        "images_per_second": 20.7, "ceiling_images_per_second": 21.9,
        "share": {"median": 0.945, "low": 0.93, "high": 0.96},
        "stages": stages, "bottleneck": "engine", "bottleneck_share": 0.89,
    }  # fmt: skip
    parts = [
        {"part": "stage 1", "gflop": 1.31, "mbyte": 44.0, "floor_ms": 14.2},
        {"part": "stage 2", "gflop": 1.62, "mbyte": 51.0, "floor_ms": 17.3},
    ]
    roofline = {
        "height": 768, "width": 1024, "parts": parts, "peak_gflops": 96.5, "copy_gb_s": 11.4,
        "floor_ms": 31.5, "measured_ms": 43.2, "share": 31.5 / 43.2,
    }  # fmt: skip
    grid = [grid_row(1, 1, 22.4), grid_row(4, 1, 23.9), grid_row(1, 2, 24.6)]
    return result("throughput", {"grid": grid, "files": files, "roofline": roofline, "skipped": {}})


def method(key: str, name: str, time: float, dice: float | None, **changes: Any) -> dict[str, Any]:
    """Return a method that was measured in the same rounds as foveate's 43.2 ms."""
    base, own = seconds(0.0432, seed=3), seconds(time, seed=3 + len(key))
    item = {
        "key": key, "name": name, "how": f"{name}, as its documentation says", "here": True,
        "ms": times(own), "ratio": asdict(ratio(own, base)), "dice": dice, "disagreement": 0.0002,
        "false_alarms": 1,
        "warm_up": {"runs": 8, "stable": True},
    }  # fmt: skip
    return {**item, **changes}


def compare_result() -> dict[str, Any]:
    ours = method("foveate", "foveate", 0.0432, 0.9134)
    own = seconds(0.0432, seed=3)
    ours["ms"], ours["ratio"] = times(own), asdict(ratio(own, own))
    methods = [
        ours,
        method("torch", "PyTorch eager", 0.0917, 0.9135),
        method("bare", "ONNX Runtime by hand", 0.0391, 0.9134),
        method("single", "one U-Net at full size", 0.287, 0.9188, disagreement=None),
        {"key": "openvino", "name": "OpenVINO", "here": False, "reason": "is not installed"},
    ]
    part = seconds(0.0201, seed=3)
    parts = [{"name": "stage 1", "ms": times(part), "ratio": asdict(ratio(part, own))}]
    counts = {"lung.bundle, stage 1": 1_465_000_000, "single.bundle, network": 9_730_000_000}
    return result(
        "compare", {"rounds": 40, "methods": methods, "parts": parts, "multiply_adds": counts}
    )


def point(model: str, time: float, dice: float, beaten: str | None = None) -> dict[str, Any]:
    """Return a point of a Pareto result."""
    return {
        "variant": f"{model}, {VARIANT}", "model": model, "engine": "onnxruntime",
        "precision": "fp32", "threads": 2, "ms": times(seconds(time)),
        "dice": {"value": dice, "low": dice - 0.05, "high": dice + 0.03},
        "front": beaten is None, "dominated_by": None if beaten is None else f"{beaten}, {VARIANT}",
    }  # fmt: skip


def pareto_result() -> dict[str, Any]:
    rows = [
        point("lung.bundle", 0.0617, 0.8811),
        point("fast.bundle", 0.0213, 0.8622),
        point("full.bundle", 0.3571, 0.8733, "lung.bundle"),
    ]
    made = result("pareto", {"rows": rows, "skipped": {}})
    sizes = {"lung.bundle": [256, 384], "fast.bundle": [128, 192], "full.bundle": None}
    made["results"]["models"] = [
        {**made["model"], "name": name, "stage2": size, "multiply_adds": 3.21e9}
        for name, size in sizes.items()
    ]
    made["parity"] = {row["variant"]: parity() for row in rows}
    return made


RESULTS = {
    "parity": parity_result,
    "latency": latency_result,
    "throughput": throughput_result,
    "compare": compare_result,
    "pareto": pareto_result,
}
