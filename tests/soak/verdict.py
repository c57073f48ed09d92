"""What a part of the soak found, as a JSON file: machine, date, versions, counts, what broke."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.schema.machine import machine_facts, producer, versions
from foveate.benchmarks.schema.result_files import write_result

SHOWN = 20


def conclude(part: str, found: dict[str, Any], broken: Sequence[str], out: Path | None) -> int:
    """Say and write what a part found; return the exit code, 1 when something broke."""
    result = {
        "schema": 1,
        "kind": f"soak-{part}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "foveate": producer(),
        "machine": machine_facts(),
        "versions": versions(),
        "found": found,
        "broken": list(broken),
    }
    if out is not None:
        write_result(out, result)
        click.echo(out)
    for name, value in found.items():
        click.echo(f"{part}: {name} {value}")
    for line in broken[:SHOWN]:
        click.echo(f"BROKEN: {line}")
    click.echo(f"{part}: {len(broken)} broken" if broken else f"{part}: sound")
    return 1 if broken else 0
