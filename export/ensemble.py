"""Several runs as one cascade: what they must agree in, what is chosen for all, what it gains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from foveate.export.image_sets import Images
from foveate.export.source import Source, read_source
from foveate.runtime.bundle.bundle import MAX_MEMBERS, ensemble_of, is_bundle
from foveate.runtime.errors import SettingsError
from foveate.runtime.spec import CascadeSpec, Region
from foveate.train.calibration.image_dice import class_dice, mean_dice_of
from foveate.train.networks.ensemble import averaged
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.run import fold_runs


def read_sources(models: Sequence[Path], flips: bool) -> Source:
    """Return a run or bundle, or the average of several runs; a folder of folds is all its runs.

    With ``flips`` every network also sees its input mirrored. SettingsError for runs that do not
    go together, for a bundle among others, and for flips that the training did not have.
    """
    folders = [folder for model in models for folder in fold_runs(model) or [model]]
    bundle = next((folder for folder in folders if is_bundle(folder)), None)
    if bundle is not None and (flips or len(folders) > 1):
        raise SettingsError(
            f"{bundle} is a bundle, which is exported alone and as it is; --flips and several "
            "models go with runs. Export the runs it was made of"
        )
    if len(folders) > MAX_MEMBERS:
        raise SettingsError(f"got {len(folders)} runs; expected at most {MAX_MEMBERS}")
    sources = [read_source(folder) for folder in folders]
    if len(sources) == 1 and not flips:
        return sources[0]
    for folder, source in zip(folders, sources, strict=True):
        if flips and not source.mirrored:
            raise SettingsError(
                f"--flips: {folder} was trained with horizontal_flip=0 and does not know mirrored "
                "images; export without --flips"
            )
        _check_alike(folders[0], sources[0], folder, source)
    return _average(folders, sources, flips)


def _check_alike(first_folder: Path, first: Source, folder: Path, source: Source) -> None:
    expected, got = _fixed(first), _fixed(source)
    different = [
        f"{name} {got.get(name)} (expected {expected.get(name)})"
        for name in {**expected, **got}
        if got.get(name) != expected.get(name)
    ]
    if different:
        raise SettingsError(
            f"{folder} cannot be averaged with {first_folder}, it has another "
            f"{'; another '.join(different)}. Train both with the same data, network and sizes"
        )


def _fixed(source: Source) -> dict[str, Any]:
    """Return what runs must agree in; the rest of a cascade is chosen on validation images."""
    spec = source.cascade.spec.as_dict()
    region = spec.pop("region")
    del spec["mask_threshold"]
    facts = {name: source.facts[name] for name in ("network", "data")}
    return {**spec, "region_mode": region["mode"], **facts}


def _average(folders: Sequence[Path], sources: Sequence[Source], flips: bool) -> Source:
    first, cascades = sources[0], tuple(source.cascade for source in sources)
    stage1, stage2 = (
        averaged([getattr(cascade, name) for cascade in cascades], flips)
        for name in ("stage1", "stage2")
    )
    assert stage1 is not None
    members = {"members": len(sources)} if len(sources) > 1 else {}
    network = {**first.facts["network"], **members, **({"flips": True} if flips else {})}
    facts = {**first.facts, "network": network}
    if members:
        facts["training"] = [source.facts["training"] for source in sources]
    lists = [source.lists for source in sources]
    training = list(dict.fromkeys(stem for one in lists for stem in one["training"]))
    validation = lists[0]["validation"]
    unseen = [stem for stem in validation if stem not in set(training)]
    return replace(
        first,
        cascade=TorchCascade(_spec_of([c.spec for c in cascades]), stage1, stage2).eval(),
        facts=facts,
        lists={"training": training, "validation": unseen or validation},
        unfinished=tuple(
            f"{folder} {stage}"
            for folder, source in zip(folders, sources, strict=True)
            for stage in source.unfinished
        ),
        alone=cascades,
    )


def _spec_of(specs: Sequence[CascadeSpec]) -> CascadeSpec:
    """Return the mean of the mask thresholds, and of the regions what looks at most."""
    regions = [asdict(spec.region) for spec in specs]
    cautious = {name: max(one[name] for one in regions) for name in regions[0]}
    cautious |= {name: min(one[name] for one in regions) for name in ("threshold", "opening")}
    if any(not one["tiles"] for one in regions):
        cautious["tiles"] = 0  # all of them
    threshold = round(fmean(spec.mask_threshold for spec in specs), 6)
    return replace(specs[0], region=Region(**cautious), mask_threshold=threshold)


def gain(source: Source, images: Images, progress: Callable[[int, int], None]) -> str:
    """Return Dice and cost of an average next to those of its runs alone, in words."""
    members, flips = ensemble_of(source.facts)
    passes = members * (1 + flips)
    cost = f"The networks take {passes} times the multiply-adds of one run's."
    seen = {case.name for case in images.cases} & set(source.lists["training"])
    if seen or any(case.truth is None for case in images.cases):
        why = "a run was trained on some of the images" if seen else "they have no masks"
        return f"{cost} Dice is not compared: {why}. Use a test list with foveate evaluate"
    cascades = source.cascade, *source.alone
    together, *alone = (_dice(cascade, images, progress) for cascade in cascades)
    plain = ", ".join(f"{value:.4f}" for value in alone)
    return f"{cost} Dice on {images.source}: {together:.4f}; without averaging {plain}"


def _dice(cascade: TorchCascade, images: Images, progress: Callable[[int, int], None]) -> float:
    classes, rows = len(cascade.spec.classes) - 1, []
    for number, case in enumerate(images.cases, 1):
        if case.truth is not None:
            rows.append(class_dice(cascade.segment(case.image)[0], case.truth, classes))
        progress(number, len(images.cases))
    return mean_dice_of(rows)
