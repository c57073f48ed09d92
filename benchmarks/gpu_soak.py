"""``make gpu-soak``: 50,000 images with flat GPU memory, and compute-sanitizer where it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.gpu import agenda
from foveate.benchmarks.gpu.references import read_references
from foveate.benchmarks.gpu.step_runner import PASSED, Outcome, Step, StepRunner
from foveate.benchmarks.gpu.task import CHECKOUT, CheckSettings, rehearsal_settings
from foveate.benchmarks.gpu_check import REHEARSAL, prepared, shortened
from foveate.benchmarks.machine import machine_facts, producer, versions
from foveate.benchmarks.result_files import write_result
from foveate.runtime.errors import FoveateError

BUDGET_S = 580
RESULT = "gpu-soak.json"
PRECISION = "fp16"


@click.command()
@click.argument("references", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu-check"))
@click.option("--images", type=click.IntRange(30), help="How many; else 50,000.")
@click.option("--budget", type=click.IntRange(10), default=BUDGET_S, help="Seconds in all.")
@click.option("--rehearsal", is_flag=True, help="No GPU is here: few images, and marked as such.")
def main(references: Path, out: Path, images: int | None, budget: int, rehearsal: bool) -> None:
    """Stream phantoms of the folder REFERENCES through the fp16 cascade for a long time."""
    try:
        make = rehearsal_settings if rehearsal else CheckSettings
        settings = make(str(references.resolve()), str(prepared(out)))
        if images:
            settings = replace(settings, stream_images=images)
        sys.exit(_main(out, settings, budget))
    except FoveateError as error:
        click.echo(error, err=True)
        sys.exit(2)


def _main(out: Path, settings: CheckSettings, budget: int) -> int:
    first = read_references(Path(settings.references), CHECKOUT)[0].name
    runner = StepRunner(out.resolve() / "steps", settings.as_json(), budget, click.echo)
    outcomes = [runner.run(step) for step in agenda.smoke_steps()]
    here = agenda.engines(outcomes)
    if here[:1] == [agenda.TENSORRT]:
        targets = outcomes[0].results.get("targets", [])
        build = {"set": first, "most": 1, "targets": targets}
        outcomes.append(runner.run(Step(f"build {first}", "build", 60, build)))
    for engine in here[:1]:
        where = {"engine": engine, "precision": PRECISION, "set": first}
        outcomes.append(runner.run(Step(f"soak {engine}", "soak", 300, where)))
        smoke = outcomes[0 if engine == agenda.TENSORRT else -1].step.arguments["engine"]
        last = Step("compute-sanitizer", "sanitizer", 420, {"smoke": smoke})
        outcomes.append(runner.run(last))
    result = _result(settings, outcomes)
    write_result(out / RESULT, result)
    for line in result["broken"]:
        click.echo(f"BROKEN: {line}")
    click.echo(out / RESULT)
    return 1 if result["broken"] else 0


def _result(settings: CheckSettings, outcomes: list[Outcome]) -> dict[str, Any]:
    steps = shortened([outcome.as_json() for outcome in outcomes], settings)
    failed = [step for step in steps if step["status"] != PASSED]
    broken = [f"{item['name']} {item['status']}: {item['reason']}" for item in failed]
    required = [line for line, step in zip(broken, failed, strict=True) if step["required"]]
    if not any(step["kind"] == "soak" for step in steps):
        required.append("no engine runs here: nothing was streamed")
    return {
        "schema": 1,
        "kind": "gpu-soak",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rehearsal": REHEARSAL if settings.rehearsal else None,
        "foveate": producer(),
        "machine": machine_facts(),
        "versions": versions(),
        "broken": required,
        "steps": steps,
    }


if __name__ == "__main__":
    main()
