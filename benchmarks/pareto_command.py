"""One call of ``foveate benchmark pareto``: open the models, check that they go together, run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate.benchmarks.evaluation.pareto import (
    Candidate,
    Progress,
    measure_points,
    timed_images,
)
from foveate.benchmarks.measure.images import Images, dataset_images
from foveate.benchmarks.measure.parity import find_reference
from foveate.benchmarks.measure.roofline import multiply_adds
from foveate.benchmarks.measure.targets import open_variants
from foveate.benchmarks.schema.machine import disturbances
from foveate.benchmarks.schema.result_files import model_facts, new_result
from foveate.runtime.bundle.bundle import Bundle, ensemble_of, is_bundle
from foveate.runtime.engines.hardware import available_cores
from foveate.runtime.errors import BundleError, SettingsError

EXPORTED = ("fp32", "fp16")
"""The graphs of a run that is measured: those that ``foveate export`` writes by default."""


@dataclass(frozen=True)
class ParetoRequest:
    """The options of the command line, by their names there. Empty names mean all."""

    models: tuple[Path, ...]
    data: Path
    stem_list: Path | None = None
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: int = 0
    command: str = ""


def pareto_result(request: ParetoRequest, progress: Progress) -> dict[str, Any]:
    """Return Dice and times of every model on the same images, and which of them dominate which.

    Raises SettingsError, BundleError, DataError and EngineError before anything is timed.
    """
    names = _names(request.models)
    warnings = disturbances()
    threads = request.threads or available_cores()
    with tempfile.TemporaryDirectory(prefix="foveate-") as folder, ExitStack() as stack:
        candidates, trained = [], {}
        for path, name in zip(request.models, names, strict=True):
            bundle = path
            if not is_bundle(path):
                bundle = Path(folder) / name
                trained[name], unfinished = _export(path, bundle, progress)
                warnings += unfinished
            found = stack.enter_context(
                open_variants(bundle, request.engines, request.precisions, request.threads)
            )
            candidates.append((name, found))
        bundles = [found.bundle for _, found in candidates]
        _check_alike(names, bundles)
        images = dataset_images(request.data, request.stem_list, bundles[0])
        warnings += _seen(names, bundles, trained, images)
        for _, found in candidates:
            found.leave_out_uncovered(sorted(set(images.sizes)))
        opened = [Candidate.of(name, found, find_reference(found)) for name, found in candidates]
        rows, parity = measure_points(opened, images, threads, progress)
        models = [
            {**model_facts(bundle), "multiply_adds": _multiply_adds(bundle, timed_images(images))}
            for bundle in bundles
        ]
        results = {"models": models, "rows": rows, "skipped": _skipped(opened)}
        settings = {"threads": threads, "rounds": rows[0]["ms"]["n"]}
        result = new_result(
            "pareto", request.command, bundles[0], images.facts(), settings, parity, results,
            warnings,
        )  # fmt: skip
    if len(names) > 1:
        result["model"]["name"] += f" and {len(names) - 1} more"
    return result


def _names(models: Sequence[Path]) -> list[str]:
    """Return the name of each model; SettingsError for two of the same name."""
    names = [path.resolve().name for path in models]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingsError(f"two models are called {twice}; expected different names: rename one")
    return names


def _export(run: Path, out: Path, progress: Progress) -> tuple[list[str], list[str]]:
    """Export a run as ``foveate export`` does; return the stems it was trained on, and warnings."""
    from foveate.export.bundle import ExportJob, export
    from foveate.export.ensemble import read_sources
    from foveate.export.image_sets import image_sets

    source = read_sources([run], flips=False)
    images = image_sets(source, None, False, partial(progress, f"reading the images of {run.name}"))
    export(ExportJob(source, out, EXPORTED, images, False, progress))
    return source.lists["training"], [
        f"{stage} of {run.name} is not fully trained; its best epoch so far was measured"
        for stage in source.unfinished
    ]


def _seen(
    names: Sequence[str],
    bundles: Sequence[Bundle],
    trained: Mapping[str, Sequence[str]],
    images: Images,
) -> list[str]:
    """Return warnings about models that were, or may have been, trained on these images."""
    found = []
    for name, bundle in zip(names, bundles, strict=True):
        count = len(set(images.names).intersection(trained.get(name, ())))
        if count:
            found.append(
                f"{count} of the {len(images)} images are training images of {name}: its Dice is "
                "too high"
            )
        elif name not in trained and ensemble_of(bundle.manifest)[0] > 1:
            found.append(
                f"{name} averages several runs: an image that validated one of them may be a "
                "training image of another, and its Dice too high. Give --list of images that none "
                "was trained on"
            )
    return found


def _check_alike(names: Sequence[str], bundles: Sequence[Bundle]) -> None:
    """Raise BundleError for models that do not read the same images and masks."""
    first = bundles[0]
    for name, bundle in zip(names, bundles, strict=True):
        ours, theirs = (one.spec.classes[1:] for one in (bundle, first))
        windows, masks = (bundle.spec.window, first.spec.window), (_masks(bundle), _masks(first))
        different = [
            f"{what} {_words(got)} (expected {_words(expected)})"
            for what, got, expected, same in (
                ("classes", ours, theirs, _same_classes(ours, theirs)),
                ("window", *windows, windows[0] == windows[1]),
                ("masks", *masks, masks[0] == masks[1]),
            )
            if not same
        ]
        if different:
            raise BundleError(
                f"{name} cannot be compared with {names[0]}, it has other {'; '.join(different)}. "
                "Give models that were trained on the same data"
            )


def _same_classes(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Say whether two models have the same classes; a training without names calls them class 1."""
    return len(ours) == len(theirs) and all(
        one == other or f"class {label}" in (one, other)
        for label, (one, other) in enumerate(zip(ours, theirs, strict=True), 1)
    )


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _masks(bundle: Bundle) -> Any:
    return bundle.manifest["data"].get("masks", {})


def _multiply_adds(bundle: Bundle, images: Images) -> float:
    """Return the multiply-adds of a mean image, in networks and geometry."""
    graph = bundle.graph(bundle.precisions[0])
    counts = {size: sum(multiply_adds(graph, 1, *size).values()) for size in set(images.sizes)}
    return float(np.mean([counts[size] for size in images.sizes]))


def _skipped(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return what did not run and why; a variant that no model ran is said once."""
    ran = {point.variant.name for candidate in candidates for point in candidate.points}
    return {
        f"{candidate.name}, {name}" if name in ran else name: reason
        for candidate in candidates
        for name, reason in candidate.found.skipped.items()
    }
