"""PyTorch on the same weights and images: host array in, host mask out, its parity beside it."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from foveate.benchmarks.gpu.references import ReferenceSet, judged
from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.gpu.throughput_step import rates
from foveate.benchmarks.timing import distribution, interleaved, warm_up
from foveate.runtime.errors import EngineError

WAYS = {
    "glue": ("eager fp32, TF32 off, networks only, numpy + OpenCV around them", "fp32"),
    "eager-fp32": ("eager fp32, TF32 off, the whole cascade on the GPU", "fp32"),
    "eager-fp16": ("eager fp16 networks, channels_last, the whole cascade on the GPU", "fp16"),
    "compiled-fp16": ("torch.compile with CUDA graphs, fp16 networks, channels_last", "fp16"),
}
"""Way -> what it is, and the precision whose bounds its masks are held to."""


def run(task: Task) -> None:
    """Measure one way: parity, latency, throughput by batch."""
    part, way = task.reference_set(), str(task.arguments["way"])
    how, precision = WAYS[way]
    batch = _batch(part, way)
    expected = part.load()
    pixels = [item.case.image for item in expected]
    from foveate.benchmarks.peers.torch_whole import one_by_one

    segment = one_by_one(batch)
    parity = judged(segment, expected, precision, part.reference)
    task.keep({"way": way, "how": how, "precision": precision, "parity": parity})
    steady = warm_up(lambda: segment(pixels[0]))
    times = interleaved(
        {"call": lambda number: segment(pixels[number % len(pixels)])},
        task.settings.torch_runs,
        pause_s=0.0,
    )
    latency = distribution(times["call"])
    task.keep({"warm_up": asdict(steady), "ms": asdict(latency)})
    task.say(f"{way}: p50 {latency.median_ms:.3f} ms")
    rows: list[dict[str, Any]] = []
    for count in task.arguments["batches"]:
        images = [pixels[index % len(pixels)] for index in range(count)]
        side = partial(_repeat, batch, images)
        rows.append({"batch": count, **rates(task, {"torch": side}, count)})
        task.keep({"rows": rows})
        task.say(f"batch {count}: {rows[-1]['images_per_second']['torch']:.0f} images/s")


def _batch(part: ReferenceSet, way: str) -> Any:
    """Return the way as a function of a list of images; EngineError where it cannot run."""
    try:
        import torch
    except ImportError as error:
        raise EngineError(f"PyTorch cannot be loaded: {error}") from None
    from foveate.benchmarks.peers.torch_networks import TorchWay
    from foveate.benchmarks.peers.torch_whole import glue_batch, whole_cascade
    from foveate.export.reference import torch_cascade

    cascade = torch_cascade(part.bundle)
    if way == "glue":
        return glue_batch(cascade, TorchWay("cuda"))
    dtype = torch.float32 if way == "eager-fp32" else torch.float16
    lower = dtype == torch.float16
    return whole_cascade(cascade, TorchWay("cuda", dtype, lower, way == "compiled-fp16"))


def _repeat(batch: Any, images: Any, runs: int) -> None:
    for _ in range(runs):
        batch(images)
