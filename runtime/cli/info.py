"""``foveate info``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.describe import bundle_facts
from foveate.runtime.cli.bundle_here import facts_here
from foveate.runtime.cli.machine_facts import machine_facts, machine_lines
from foveate.runtime.cli.options import gpu_option
from foveate.runtime.errors import one_line


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@gpu_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(bundle: Path | None, gpu: int, as_json: bool) -> None:
    """Show the engines here, what is missing and the line that installs it.

    With BUNDLE also what it holds, and what runs it here: the engine that auto takes, timed, plans
    looked for on the GPU of --gpu, and the plans in the cache. What it is on any machine is foveate
    bundle show.

    \b
    Example:
      foveate info lung.bundle
    """
    facts = machine_facts()
    if bundle is not None:
        opened = open_bundle(bundle)
        facts["bundle"] = bundle_facts(opened) | facts_here(opened, gpu)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for line in machine_lines(facts):
        click.echo(one_line(line))
    for name, value in facts.get("bundle", {}).items():
        click.echo(one_line(f"{name}: {value}"))
