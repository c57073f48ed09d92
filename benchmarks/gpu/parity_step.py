"""The masks of one engine on one set against those of PyTorch that were carried along."""

from __future__ import annotations

from typing import Any

from foveate.benchmarks.gpu.references import judged
from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.parity import cascade_segment
from foveate.runtime.cascade import Cascade
from foveate.runtime.errors import EngineError, FoveateError


def run(task: Task) -> None:
    """Judge every precision; one that does not run is listed, and the step fails at its end."""
    part = task.reference_set()
    expected = part.load()
    rows: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for precision in task.arguments["precisions"]:
        try:
            with Cascade.load(part.bundle.path, task.engine, precision) as cascade:
                segment = cascade_segment(cascade)
                rows[precision] = judged(segment, expected, precision, part.reference)
        except FoveateError as error:
            refused[precision] = str(error)
            task.say(f"{precision}: {error}")
        else:
            row = rows[precision]
            held = "held" if row["held"] else "NOT HELD"
            task.say(f"{precision}: disagreement {row['disagreement']:.5f}, {held}")
        task.keep({"parity": rows, "refused": refused})
    if refused:
        raise EngineError("; ".join(f"{name}: {why}" for name, why in refused.items()))
