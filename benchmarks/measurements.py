"""From a command to a result: what each benchmark measures, on what, with its parity next to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foveate.benchmarks.measure.baseline import with_baseline
from foveate.benchmarks.measure.cold_start import cold_starts
from foveate.benchmarks.measure.file_throughput import file_throughput, write_images
from foveate.benchmarks.measure.gpu_ceilings import ceiling_rows
from foveate.benchmarks.measure.images import Images, find_images
from foveate.benchmarks.measure.latency import (
    LatencyPlan,
    latency_advice,
    latency_rows,
    offered_load,
)
from foveate.benchmarks.measure.parity import (
    Parity,
    Reference,
    each_image,
    find_reference,
    measure_parity,
    parity_row,
    write_engine_proofs,
    write_pictures,
    write_proofs,
)
from foveate.benchmarks.measure.stored_reference import stored_reference
from foveate.benchmarks.measure.targets import Variants, open_variants
from foveate.benchmarks.measure.throughput import best_cell, grid
from foveate.benchmarks.schema.machine import disturbances
from foveate.benchmarks.schema.result_files import new_result
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.engines.registry import TENSORRT

Progress = Callable[[str, int, int], None]
DRAWN = (
    "drawn phantoms, because no DATA was given: times hold for images of their size, target Dice "
    "only for a bundle that was trained on phantoms"
)
NEEDS_ONNX = "the roofline needs onnx: pip install 'foveate[train,benchmark]'"


@dataclass(frozen=True)
class Target:
    """What is measured on what. Empty names mean all; ``sizes`` are those of the phantoms.

    ``reference`` is a folder of stored reference masks, and the data set where no other is given.
    """

    bundle: Path
    data: Path | None = None
    stem_list: Path | None = None
    reference: Path | None = None
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: int = 0
    sizes: tuple[int, ...] = (1024,)
    count: int = 8
    command: str = ""

    @property
    def cores(self) -> int:
        return self.threads or available_cores()

    @property
    def dataset(self) -> Path | None:
        return self.data or self.reference

    def images(self, found: Variants) -> list[Images]:
        """Return the data set's images, or phantoms of each size."""
        bundle, data = found.bundle, self.dataset
        sizes = self.sizes if data is None else self.sizes[:1]
        return [find_images(bundle, data, self.stem_list, self.count, size) for size in sizes]

    def find_reference(self, found: Variants) -> Reference:
        """Return the reference whose masks are stored, or one that computes them here."""
        if self.reference is None:
            return find_reference(found)
        return stored_reference(self.reference, found.bundle)

    def parity(self, found: Variants, images: Sequence[Images], progress: Progress) -> Parity:
        """Return the parity of every variant on these images."""
        return measure_parity(found, self.find_reference(found), images, progress)


def _result(
    kind: str,
    target: Target,
    found: Variants,
    images: Sequence[Images],
    parity: dict[str, Any],
    results: dict[str, Any],
    settings: dict[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    data = images[0].facts()
    for part in images[1:]:
        more = part.facts()
        data["name"] += f", {more['name']}"
        data["images"] += more["images"]
        data["sizes"] += more["sizes"]
    warnings = [*([DRAWN] if target.dataset is None else []), *warnings]
    settings = {"threads": target.cores, **settings}
    return new_result(kind, target.command, found.bundle, data, settings, parity, results, warnings)


def parity_result(
    target: Target, pictures: Path | None, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """Return the parity of every variant here, and in words what else was written.

    That is the record next to each TensorRT plan and, on a data set, of each engine of a CPU, and
    the pictures of the worst images.
    """
    with open_variants(target.bundle, target.engines, target.precisions, target.threads) as found:
        images = target.images(found)
        parity = target.parity(found, images, progress)
        proofs = write_proofs(found, parity, images)
        if target.dataset is not None:
            proofs += write_engine_proofs(found, parity, images[0].name)
        written = write_pictures(pictures, parity, found, images[0]) if pictures else []
        rows = parity.as_json()
        each = {name: each_image(total) for name, total in parity.totals.items()}
        results = {
            "reference": parity.reference.name,
            "variants": {name: {**rows[name], "each": each[name]} for name in rows},
            "skipped": found.skipped,
        }
        warnings = _parity_warnings(parity)
        result = _result("parity", target, found, images, rows, results, {}, warnings)
        return result, [*proofs, *(f"picture {path}" for path in written)]


def _parity_warnings(parity: Parity) -> list[str]:
    if "not here" not in parity.reference.name:
        return []
    return [
        f"the reference is {parity.reference.name}: a defect of the exported graph itself does not "
        "show. Install foveate[train] to compare with the weights in PyTorch"
    ]


@dataclass(frozen=True)
class LatencySettings:
    """How latency is measured. ``rates`` are requests a second offered in an open loop."""

    batches: tuple[int, ...] = (1,)
    runs: int = 50
    rates: tuple[float, ...] = ()


def latency_result(target: Target, settings: LatencySettings, progress: Progress) -> dict[str, Any]:
    """Return latency, stage times, cold start and memory of every variant here.

    TensorRT runs in its latency mode.
    """
    warnings = disturbances()
    names = target.engines, target.precisions
    with open_variants(target.bundle, *names, target.threads, latency=True) as found:
        images = [part.of_one_size() for part in target.images(found)]
        parity = target.parity(found, images, progress)
        plan = LatencyPlan(settings.batches, settings.runs, target.cores)
        rows, loads = [], []
        for part in images:
            with tempfile.TemporaryDirectory(prefix="foveate-") as folder:
                rows += latency_rows(found, part, plan, Path(folder), progress)
        for rate in settings.rates:
            loads += _loads(found, images[0], rate, settings.runs, progress)
        height, width = images[0].sizes[0]
        pairs = [(item.engine, item.precision) for item in found.cascades]
        shown = partial(progress, "cold starts")
        starts = cold_starts(target.bundle, pairs, target.cores, (height, width), shown)
        results = {
            "rows": rows,
            "cold_start": starts,
            "offered_load": loads,
            "skipped": found.skipped,
        }
        warnings += latency_advice(results)
        kept = _listed(settings)
        return _result("latency", target, found, images, parity.as_json(), results, kept, warnings)


def _loads(
    found: Variants, images: Images, rate: float, requests: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return each variant's times under a load, on images held in memory."""
    pixels = [case.image for case in images]
    rows = []
    for variant, cascade in found.cascades.items():
        label = f"{variant.name}, {rate:g}/s"
        load = offered_load(
            lambda number, cascade=cascade: cascade(pixels[number % len(pixels)]),  # type: ignore[misc]
            rate, requests, partial(progress, label),
        )  # fmt: skip
        rows.append({"variant": variant.name, **load})
    return rows


@dataclass(frozen=True)
class ThroughputSettings:
    """How throughput is measured; no ``workers`` means one, two and as many as cores."""

    batches: tuple[int, ...] = (1, 4, 8)
    workers: tuple[int, ...] = ()
    seconds: float = 6.0


def throughput_result(
    target: Target, settings: ThroughputSettings, progress: Progress
) -> dict[str, Any]:
    """Return the saturated rates of every variant here, files against their ceiling, a roofline."""
    warnings = disturbances()
    workers = settings.workers or tuple(sorted({1, min(2, target.cores), target.cores}))
    with open_variants(target.bundle, target.engines, target.precisions, target.threads) as found:
        images = target.images(found)[0].of_one_size()
        parity = target.parity(found, [images], progress)
    pixels = [case.image for case in images]
    measured = {item.name: with_baseline(found.bundle, item) for item in found.cascades}
    rows: list[dict[str, Any]] = []
    for name, one in measured.items():
        shown = partial(progress, name)
        rows += grid(one, pixels, settings.batches, workers, target.cores, settings.seconds, shown)
    best = best_cell(rows)
    with tempfile.TemporaryDirectory(prefix="foveate-") as folder:
        paths = write_images(pixels, Path(folder))
        one, shown = measured[best["variant"]], partial(progress, "files")
        files = file_throughput(one, paths, best, target.cores, settings.seconds, shown)
    ceilings = []
    for variant in found.cascades:
        if variant.engine == TENSORRT:
            with measured[variant.name].cascade(target.cores) as cascade:
                ceilings += ceiling_rows(cascade, pixels, settings.batches, settings.seconds)
    floor, reason = _roofline(target, found, rows, images.sizes[0])
    warnings += [f"no roofline: {reason}"] if reason else []
    results = {
        "grid": rows,
        "files": files,
        "ceilings": ceilings,
        "roofline": floor,
        "skipped": found.skipped,
    }
    kept = {**_listed(settings), "workers": list(workers)}
    return _result("throughput", target, found, [images], parity.as_json(), results, kept, warnings)


def _roofline(
    target: Target, found: Variants, rows: Sequence[dict[str, Any]], size: tuple[int, int]
) -> tuple[dict[str, Any] | None, str]:
    """Return the roofline of the fp32 graph at its best rate; None and why where there is none."""
    fp32 = [row for row in rows if row["variant"].endswith(" fp32")]
    if not fp32:
        return None, "the fp32 graph was not run"
    try:
        from foveate.benchmarks.measure.roofline import roofline
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        return None, NEEDS_ONNX
    measured_ms = 1000 / max(row["images_per_second"] for row in fp32)
    return roofline(found.bundle.graph("fp32"), *size, measured_ms, target.cores), ""


def _listed(settings: Any) -> dict[str, Any]:
    """Return settings as JSON has them."""
    values = asdict(settings).items()
    return {name: list(item) if isinstance(item, tuple) else item for name, item in values}


def compare_result(
    target: Target, singles: Sequence[Path], rounds: int, batch: int, progress: Progress
) -> dict[str, Any]:
    """Return foveate and its peers on the same images."""
    from foveate.benchmarks.compare.methods import Opponents, compare

    warnings = disturbances()
    with open_variants(target.bundle, target.engines, target.precisions, target.threads) as found:
        images = target.images(found)[0]
        opponents = Opponents(singles, target.cores, rounds, batch)
        reference = target.find_reference(found)
        results, methods = compare(found, images, reference, opponents, progress)
        ours = [method for method in methods if method.key.startswith("foveate")]
        names = list(found.cascades)
        parity = {
            variant.name: parity_row(reference.name, variant.precision, method.total)
            for variant, method in zip(names, ours, strict=True)
        }
        kept = {
            "rounds": results["rounds"],
            "batch": batch,
            "singles": [path.resolve().name for path in singles],
        }
        return _result("compare", target, found, [images], parity, results, kept, warnings)
