"""What networks of many widths take in ONNX Runtime, beside the bound that memory budgets go by.

``python -m foveate.benchmarks.network_memory``, three minutes, on Linux, with PyTorch. The networks
are untrained, for weights do not change what a layer takes; images are small, so that they hardly
count. Each call is in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.soak.threshold_bundle import write_bundle
from foveate.benchmarks.soak.verdict import conclude
from foveate.export.folding import folded
from foveate.runtime.bundle import open_bundle
from foveate.runtime.choice import CPU_ENGINE
from foveate.runtime.spec import CascadeSpec, Normalisation, Size
from foveate.runtime.working_memory import working_memory
from foveate.train.network_choice import OWN, NetworkChoice
from foveate.train.networks import networks

SIDE = 64
"""Of the images."""
COUNTS = (1, 3)
WIDTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
WIDE = (256, 256)
OTHERS = (
    ("unet", 10, 5, (256, 512), 1), ("unet", 1, 3, (512, 512), 1), ("unet", 20, 2, (384, 384), 1),
    ("unet", 10, 3, (512, 512), 1), ("unet", 5, 4, (192, 512), 1), ("unet", 6, 3, WIDE, 20),
    ("residual", 1, 2, (512, 512), 1), ("residual", 10, 3, (128, 128), 1),
    ("residual", 6, 4, (192, 512), 1), ("residual", 6, 4, WIDE, 20),
    ("attention", 5, 4, (192, 512), 1), ("attention", 20, 3, (384, 384), 1),
    ("residual_attention", 5, 4, (128, 128), 1), ("residual_attention", 8, 3, (512, 512), 5),
)  # fmt: skip
"""Name, width, depth, (height, width) of a stage, classes beside the background."""


def cases() -> list[tuple[str, int, int, tuple[int, int], int]]:
    """Return all that are measured: every network by every width, and other sizes and classes."""
    return [*((name, width, 3, WIDE, 1) for name in OWN for width in WIDTHS), *OTHERS]


def write_untrained(
    folder: Path, choice: NetworkChoice, size: tuple[int, int], classes: int
) -> None:
    """Write a bundle of untrained networks, both stages of one size."""
    spec = CascadeSpec(
        input_type="uint8",
        stage1=Size(*size),
        stage2=Size(*size),
        classes=("background", *(f"class {number}" for number in range(1, classes + 1))),
        normalisation=Normalisation("constants", 0.0, 1.0),
    )
    stage1, stage2 = networks(spec, choice)
    assert stage2 is not None
    write_bundle(folder, spec, choice.as_dict(), folded(stage1.eval()), folded(stage2.eval()))


def taken_mb(bundle: Path, count: int) -> float:
    """Return the MB that so many small images in one call take, in a fresh process."""
    command = [sys.executable, "-m", "foveate.benchmarks.working_memory", str(bundle)]
    command += ["--size", f"{count}x{SIDE}x{SIDE}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["mb"])


def measured(folder: Path, item: tuple[str, int, int, tuple[int, int], int]) -> list[Any]:
    """Return a row: what the networks are, then MB and share of the bound for every count."""
    name, width, depth, size, classes = item
    bundle = folder / "untrained.bundle"
    write_untrained(bundle, NetworkChoice(name, width, depth), size, classes)
    opened = open_bundle(bundle)
    memory = working_memory(CPU_ENGINE, opened.spec, opened.manifest["network"])
    row: list[Any] = [name, width, depth, f"{size[0]}x{size[1]}", classes]
    for count in COUNTS:
        taken = taken_mb(bundle, count)
        row += [taken, round(taken * 1e6 / memory.nbytes(count, SIDE * SIDE), 3)]
    return row


def rows() -> Iterator[list[Any]]:
    """Yield a row for every case."""
    for item in cases():
        with tempfile.TemporaryDirectory(prefix="foveate-memory-") as folder:
            yield measured(Path(folder), item)


def judged(found: Sequence[list[Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return the shares by network and all rows, and what passes the bound."""
    shares: dict[str, list[float]] = {}
    for row in found:
        shares.setdefault(row[0], []).extend(row[6::2])
    facts: dict[str, Any] = {
        f"share of the bound, {name}": [min(values), max(values)] for name, values in shares.items()
    }
    broken = [f"takes more than the bound: {row}" for row in found if max(row[6::2]) > 1]
    names = ["network", "width", "depth", "size", "classes"]
    names += [f"{count} image(s), {what}" for count in COUNTS for what in ("MB", "share")]
    facts["columns"] = ", ".join(names)
    return {**facts, **{f"case {number}": row for number, row in enumerate(found)}}, broken


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="File of the result, JSON.")
def main(out: Path | None) -> None:
    """Measure what networks of many widths take, and hold it against the bound."""
    facts, broken = judged(list(rows()))
    sys.exit(conclude("network-memory", facts, broken, out))


if __name__ == "__main__":
    main()
