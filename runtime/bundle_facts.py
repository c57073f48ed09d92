"""What a bundle says of itself, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.runtime.bundle import PARITY, Bundle, open_bundle
from foveate.runtime.choice import Choice, choose
from foveate.runtime.cpu_choice import Speeds
from foveate.runtime.engine_times import idle_timer
from foveate.runtime.engines.base import available_cores
from foveate.runtime.json_files import check_shape, parse_json
from foveate.runtime.plans import plan_cache


def bundle_facts(path: Path) -> dict[str, str]:
    """Return what a bundle says of itself, in words, after checking every file of it."""
    bundle = open_bundle(path)
    for name in bundle.manifest["files"]:
        bundle.read(name)
    spec, network = bundle.spec, bundle.manifest["network"]
    facts = {
        "bundle": f"{path}, all {len(bundle.manifest['files'])} files match their sha256",
        "input": f"{spec.input_type}, any size",
        "classes": ", ".join(spec.classes),
        "stage 1": f"the whole image at its own size, padded to a multiple of {spec.pad_multiple}"
        if spec.pad_multiple
        else f"{spec.stage1.height}x{spec.stage1.width}, the whole image",
        "networks": f"{network['name']}, width {network['width']}, depth {network['depth']}",
        "precisions": ", ".join(bundle.precisions),
        "data": _data(bundle.manifest["data"]),
    }
    if spec.stage2 is not None and spec.region.mode == "tiles":
        which = f"the {spec.region.tiles} best" if spec.region.tiles else "all"
        facts["stage 2"] = (
            f"{spec.stage2.height}x{spec.stage2.width}, {which} tiles at the image's own "
            f"resolution, overlap {spec.region.overlap:.0%}"
        )
    elif spec.stage2 is not None:
        facts["stage 2"] = (
            f"{spec.stage2.height}x{spec.stage2.width}, the box of coarse probability over "
            f"{spec.region.threshold} in patches of {spec.region.opening} cells or more, "
            f"margin {spec.region.margin}"
        )
    facts.update(_auto(bundle))
    facts.update(_plans(bundle))
    for name, row in _parity(bundle).items():
        facts[f"parity {name}"] = f"disagreement {row['disagreement']:.6f}, {row['how']}"
    return facts


def _data(data: Mapping[str, Any]) -> str:
    """Return what the weights were made from, and from what they began, with the licences."""
    named = [
        f"{one['name']}, licence: {one['licence'] or 'not stated'}"
        for one in (data, *data.get("initial", []))
    ]
    return "; the weights began with a run on ".join(named)


def _auto(bundle: Bundle) -> dict[str, str]:
    """Return what ``auto`` takes, and what it does not consider, in words.

    The engines of a CPU are timed for it, with all cores and with one, unless they were before or
    the machine is busy.
    """
    one_by_one = choose(bundle, speeds=Speeds(available_cores(), idle_timer()))
    facts = {"auto": _words(one_by_one)}
    if one_by_one.engine_ms and available_cores() > 1:
        facts["auto, a folder"] = _words(choose(bundle, speeds=Speeds(1, idle_timer())))
    for label, reason in one_by_one.left_out.items():
        facts[f"auto without {label}"] = reason
    return facts


def _words(choice: Choice) -> str:
    return f"{choice.label}; {choice.why}"


def _plans(bundle: Bundle) -> dict[str, str]:
    """Return the TensorRT plans of the bundle in the cache of this user, in words."""
    graphs = {bundle.graph_sha256(name) for name in bundle.precisions}
    return {
        f"plan {record.key[:12]}": str(record)
        for record in plan_cache().records()
        if record.recipe.graph_sha256 in graphs
    }


def _parity(bundle: Bundle) -> dict[str, Any]:
    """Return the rows of ``parity.json``; BundleError when they are not what export writes."""
    path = bundle.path / PARITY
    content = parse_json(path, bundle.read(PARITY).decode(errors="replace"))
    check_shape(path, content, {"precisions": dict})
    rows = content["precisions"]
    check_shape(path, rows, dict.fromkeys(rows, {"disagreement": float, "how": str}), "precisions")
    return dict(rows)
