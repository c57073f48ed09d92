"""What is exported: the cascade of a run, or of a bundle whose run may be gone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foveate.export.reference import torch_cascade
from foveate.runtime.bundle.bundle import is_bundle, open_bundle
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.json_files import canonical_sha256
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.run import data_named, load_run
from foveate.train.settings.mask_rules import MaskRules, stated
from foveate.train.settings.network_choice import Networks


@dataclass(frozen=True)
class Source:
    """A trained cascade in PyTorch, and what the manifest of its bundle says of where it is from.

    ``lists`` are the stems it was trained and validated on, by name; a bundle names none.
    ``image_dir``, ``mask_dir``, ``masks`` and ``data_dir`` are those of its training.
    ``unfinished`` names the stages whose training did not finish. ``mirrored`` says whether it was
    trained on images mirrored horizontally, which a bundle does not tell. ``alone`` are the
    cascades of the runs of an average (``export.ensemble``). ``networks`` is, by stage, how far
    imported networks are from the originals (``export.importer``).
    """

    cascade: TorchCascade
    facts: dict[str, Any]
    lists: dict[str, list[str]]
    data_dir: Path | None = None
    image_dir: str = "images"
    mask_dir: str = "masks"
    masks: MaskRules = MaskRules()
    unfinished: tuple[str, ...] = ()
    mirrored: bool = False
    alone: tuple[TorchCascade, ...] = ()
    networks: dict[str, Any] = field(default_factory=dict)


def read_source(folder: Path) -> Source:
    """Return what a run or a bundle holds; BundleError says which file is wrong and why."""
    return _bundle(folder) if is_bundle(folder) else _run(folder)


def with_tiles(source: Source, tiles: int) -> Source:
    """Return the source with another number of tiles, 0 for all.

    SettingsError where stage 2 does not look at tiles, and for a number that none can have.
    """
    spec = source.cascade.spec
    if spec.region.mode != "tiles":
        raise SettingsError(
            f"--tiles goes with a cascade of region_mode=tiles; this one has {spec.region.mode}"
        )
    changed = replace(spec, region=replace(spec.region, tiles=tiles))
    try:
        changed.check()
    except BundleError as error:
        raise SettingsError(f"--tiles {tiles}: {error}") from None
    cascade, *alone = (
        TorchCascade(changed, old.stage1, old.stage2).eval()
        for old in (source.cascade, *source.alone)
    )
    return replace(source, cascade=cascade, alone=tuple(alone))


def _bundle(folder: Path) -> Source:
    bundle = open_bundle(folder)
    names = ("kind", "network", "data", "training")
    facts = {name: bundle.manifest[name] for name in names if name in bundle.manifest}
    rules = MaskRules.of_manifest(bundle.manifest)
    return Source(torch_cascade(bundle), facts, {}, masks=rules)


def _run(folder: Path) -> Source:
    cascade, record = load_run(folder)
    settings, data, stages = record["settings"], record["data"], record["stages"]
    masks = stated(settings)
    facts = {
        "kind": record["kind"],
        "network": Networks.of_settings(settings).as_dict(),
        "data": data_named(record) | ({"masks": masks} if masks else {}),
        "training": {
            "created": record["created"],
            "run_sha256": canonical_sha256(record),
            "validation_dice": {
                name: max(row["dice"] for row in stage["curve"]) for name, stage in stages.items()
            },
        },
    }
    return Source(
        cascade,
        facts,
        {name: data[name] for name in ("training", "validation")},
        Path(settings["data_dir"]),
        settings["image_dir_name"],
        settings["mask_dir_name"],
        MaskRules.of_settings(masks),
        tuple(name for name, stage in stages.items() if not stage["done"]),
        settings.get("horizontal_flip", 0) > 0,
    )
