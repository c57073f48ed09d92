"""Plans of one set's bundle into the check's own cache: seconds and megabytes of each."""

from __future__ import annotations

from collections import Counter
from typing import Any

from foveate.benchmarks.gpu.references import ReferenceSet
from foveate.benchmarks.gpu.task import PRECISIONS, Task
from foveate.export.plan_job import PlanJob, build_into, check_shapes
from foveate.runtime.build_options import BuildOptions
from foveate.runtime.plan_record import PlanRecord
from foveate.runtime.plans import plan_cache
from foveate.runtime.toolkit import toolkit


def run(task: Task) -> None:
    """Build every precision for the set's sizes: batch 1, and the largest batch where asked."""
    part, rows = task.reference_set(), []
    kit, targets = toolkit(), tuple(task.arguments["targets"])
    most = int(task.arguments["most"])
    for precision in PRECISIONS:
        for batch in ((1, 1, 1), (1, max(1, most // 4), most)) if most > 1 else ((1, 1, 1),):
            options = BuildOptions(_sizes(part), batch, targets=targets)
            check_shapes(part.bundle, options)
            job = PlanJob(part.bundle, precision, options, kit, lambda *step: None, lambda: None)
            record, _ = build_into(plan_cache(), job)
            rows.append(_row(record, precision))
            task.keep({"toolkit": str(kit), "plans": rows})
            task.say(f"{precision}, batch {batch[0]} to {batch[2]}: {record.build_seconds:.1f} s")


def _sizes(part: ReferenceSet) -> tuple[tuple[int, int], ...]:
    """Return the sizes of a set, the commonest first: the plan is tuned for that."""
    return tuple(size for size, _ in Counter(part.sizes).most_common())


def _row(record: PlanRecord, precision: str) -> dict[str, Any]:
    options = record.recipe.options
    spans = options.profile
    return {
        "precision": precision,
        "batch": list(options.batch),
        "height": [spans.height.min, spans.height.max],
        "width": [spans.width.min, spans.width.max],
        "seconds": record.build_seconds,
        "mb": record.plan_bytes / 1e6,
        "key": record.key,
    }
