"""What parity found of each TensorRT plan, written beside the plan: ``auto`` goes by it."""

from __future__ import annotations

from collections.abc import Sequence

from foveate.benchmarks.measure.images import Images
from foveate.benchmarks.measure.parity import Parity
from foveate.benchmarks.measure.targets import Variants
from foveate.runtime.agreement import Disagreement
from foveate.runtime.auto.parity_records import PlanParity, write_parity
from foveate.runtime.engines.tensorrt.engine import PlannedEngine
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord


def write_proofs(found: Variants, parity: Parity, images: Sequence[Images]) -> list[str]:
    """Write the parity of every plan that made masks into the cache; return it in words.

    A plan is judged by the images that it was used for.
    """
    sizes = [size for part in images for size in part.sizes]
    data = ", ".join(part.name for part in images)
    written = []
    for variant, cascade in found.cascades.items():
        engine = cascade.engine
        if not isinstance(engine, PlannedEngine):
            continue
        for record, total in _by_plan(engine, parity.totals[variant.name], sizes):
            wanted = engine.source.wanted
            proof = PlanParity.of(
                total, variant.precision, data, parity.reference.name,
                plan_sha256=record.plan_sha256, version=wanted.version, gpu=wanted.device,
            )  # fmt: skip
            write_parity(engine.source.cache, record, proof)
            written.append(f"plan {record.key[:12]} ({variant.precision}): {proof}")
    return written


def _by_plan(
    engine: PlannedEngine, total: Disagreement, sizes: Sequence[tuple[int, int]]
) -> list[tuple[PlanRecord, Disagreement]]:
    found: dict[str, tuple[PlanRecord, Disagreement]] = {}
    for pair, size in zip(total.pairs, sizes, strict=True):
        record = engine.record_for((1, *size))
        found.setdefault(record.key, (record, Disagreement()))[1].add(pair)
    return list(found.values())
