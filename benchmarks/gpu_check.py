"""``make gpu-check``: everything that only a GPU can show, in six minutes: one JSON, one page.

Every step is a process of its own with a time limit; what fails, hangs or no longer fits is listed
and the rest goes on. Exit code 1: a bound is broken, or a required step did not pass.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.gpu import agenda, verdicts
from foveate.benchmarks.gpu.page import write_gpu_page
from foveate.benchmarks.gpu.references import ReferenceSet, read_references
from foveate.benchmarks.gpu.step_runner import Outcome, StepRunner
from foveate.benchmarks.gpu.task import CHECKOUT, CheckSettings, rehearsal_settings
from foveate.benchmarks.machine import disturbances, machine_facts, producer, versions
from foveate.benchmarks.result_files import model_facts, write_result
from foveate.runtime.errors import FoveateError

BUDGET_S = 360
RESULT, PAGE = "gpu-check.json", "gpu-check.html"
REHEARSAL = "a rehearsal, no GPU: nothing here says anything about a GPU"


@click.command()
@click.argument("references", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu-check"))
@click.option("--budget", type=click.IntRange(10), default=BUDGET_S, help="Seconds in all.")
@click.option("--runs", type=click.IntRange(1), help="Calls of each latency; else 2,000.")
@click.option("--rehearsal", is_flag=True, help="No GPU is here: few runs, and marked as such.")
def main(references: Path, out: Path, budget: int, runs: int | None, rehearsal: bool) -> None:
    """Check this machine's GPU against the masks in the folder REFERENCES."""
    try:
        sys.exit(_main(references, out, budget, runs, rehearsal))
    except FoveateError as error:
        click.echo(error, err=True)
        sys.exit(2)


def _main(references: Path, out: Path, budget: int, runs: int | None, rehearsal: bool) -> int:
    sets = read_references(references, CHECKOUT)
    make = rehearsal_settings if rehearsal else CheckSettings
    settings = make(str(references.resolve()), str(prepared(out)))
    if runs:
        settings = replace(settings, runs=runs)
    runner = StepRunner(out.resolve() / "steps", settings.as_json(), budget, click.echo)
    facts = _facts(sets, settings)
    result: dict[str, Any] = {}
    for outcomes in check(runner, sets, settings):
        result = written(out, facts, shortened([item.as_json() for item in outcomes], settings))
    for line in closing_lines(result):
        click.echo(line)
    click.echo(f"{out / RESULT}\n{out / PAGE}\n{runner.budget_s - runner.left_s:.0f} s")
    return 1 if result["broken"] else 0


def prepared(out: Path) -> Path:
    """Return the folder for results; plans go into a cache of its own inside it."""
    (out / "steps").mkdir(parents=True, exist_ok=True)
    os.environ["FOVEATE_CACHE"] = str(out.resolve() / f"cache-{time.time_ns()}")
    return out.resolve()


def check(
    runner: StepRunner, sets: list[ReferenceSet], settings: CheckSettings
) -> Iterator[list[Outcome]]:
    """Run every step; yield what there is after each."""
    outcomes: list[Outcome] = []
    for step in agenda.smoke_steps():
        outcomes.append(runner.run(step))
        yield outcomes
    for step in agenda.steps_after(outcomes, sets, settings):
        outcomes.append(runner.run(step))
        yield outcomes


def _facts(sets: list[ReferenceSet], settings: CheckSettings) -> dict[str, Any]:
    """Return what the figures are measured on, asked for once."""
    values = settings.as_json()
    return {
        "schema": 1,
        "kind": "gpu-check",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rehearsal": REHEARSAL if settings.rehearsal else None,
        "foveate": producer(),
        "machine": machine_facts(),
        "versions": versions(),
        "settings": {name: values[name] for name in values if name not in ("references", "out")},
        "sets": [_set_facts(part) for part in sets],
        "warnings": disturbances(),
    }


def shortened(value: Any, settings: CheckSettings) -> Any:
    """Return JSON values with the folders of this machine named, not spelled out."""
    if isinstance(value, str):
        for path, name in ((settings.references, "REFERENCES"), (settings.out, "OUT")):
            value = value.replace(path, name)
        return value.replace(str(CHECKOUT), "CHECKOUT")
    if isinstance(value, dict):
        return {name: shortened(item, settings) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(item, settings) for item in value]
    return value


def written(out: Path, facts: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Write JSON and page of what there is so far, and return it."""
    result = {
        **facts,
        "broken": verdicts.broken(steps),
        "doubts": verdicts.doubts(steps),
        "aims": verdicts.aims(steps, facts["rehearsal"] is not None),
        "steps": steps,
    }
    write_result(out / RESULT, result)
    write_gpu_page(out / PAGE, result)
    return result


def _set_facts(part: ReferenceSet) -> dict[str, Any]:
    return {
        "name": part.name,
        "images": len(part.sizes),
        "sizes": [list(size) for size in sorted(set(part.sizes))],
        "reference": part.reference,
        "model": model_facts(part.bundle),
    }


def closing_lines(result: dict[str, Any]) -> list[str]:
    """Return what the terminal shows at the end."""
    words = {True: "met", False: "MISSED", None: "not measured"}
    shown = [f"** {result['rehearsal']} **"] if result["rehearsal"] else []
    for aim in result["aims"]:
        value = "-" if aim["value"] is None else f"{aim['value']:.3f}"
        sign = "<=" if aim["at_most"] else ">="
        shown.append(f"{words[aim['met']]:>12}  {aim['aim']}: {value} (aim {sign} {aim['wanted']})")
    shown += [f"BROKEN: {line}" for line in result["broken"]]
    return [*shown, *(f"doubt: {line}" for line in result["doubts"])]


if __name__ == "__main__":
    main()
