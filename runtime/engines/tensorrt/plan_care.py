"""Looking after the cache of plans: what is stale goes, plans come in and go out as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from foveate.runtime.atomic_files import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, write_atomically
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache, sound_plan
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord, read_record
from foveate.runtime.errors import BundleError


def prune(cache: PlanCache, versions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Remove what no engine here can load; return (file name, why) of each file removed.

    ``versions``: the TensorRTs installed; plans of others are kept, they may be for elsewhere.
    """
    removed = []
    with cache.locked():
        for entry in cache.verify():
            why = entry.problem or (_stale(entry.record, versions) if entry.record else "")
            if why:
                removed += [(name, why) for name in _remove(cache, f"{entry.key}.*")]
        leftovers = _remove(cache, f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}")
        removed += [(name, "left by a build that was killed") for name in leftovers]
    return removed


def export_plan(cache: PlanCache, record: PlanRecord, out: Path) -> Path:
    """Write a plan to ``out`` and its record beside it; return the record's path."""
    plan = cache.read(record, record.bundle)
    beside = record_path(out)
    text = json.dumps(record.as_dict(), indent=1) + "\n"
    write_atomically(out, lambda file: file.write(plan))
    write_atomically(beside, lambda file: file.write(text.encode()))
    return beside


def import_plan(cache: PlanCache, file: Path) -> PlanRecord:
    """Put a plan that ``export_plan`` wrote into the cache; BundleError when it was changed."""
    if not file.is_file():
        raise BundleError(f"{file}: no such plan; wanted a file of foveate build --out")
    record = read_record(record_path(file))
    plan = sound_plan(file, record)
    with cache.locked():
        cache.write(record, plan)
    return record


def record_path(plan: Path) -> Path:
    """Return where the record of an exported plan lies."""
    return plan.with_name(f"{plan.name}.json")


def _stale(record: PlanRecord, versions: Mapping[str, str]) -> str:
    """Return why a sound plan is of no use any more; version-compatible ones stay."""
    recipe = record.recipe
    installed = versions.get(recipe.flavour, recipe.version)
    if recipe.version == installed or recipe.options.version_compatible:
        return ""
    return f"was built by {recipe.flavour} {recipe.version}; {installed} is installed"


def _remove(cache: PlanCache, pattern: str) -> list[str]:
    paths = sorted(cache.folder.glob(pattern))
    for path in paths:
        path.unlink(missing_ok=True)
    return [path.name for path in paths]
