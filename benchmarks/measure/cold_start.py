"""How soon the first mask is there, in fresh processes: interpreter, import, load, first mask.

``python -m foveate.benchmarks.measure.cold_start BUNDLE ENGINE PRECISION THREADS HEIGHT WIDTH`` is
the child; it prints one line of JSON. It imports nothing before the clock runs but what Python
has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from foveate.runtime.errors import EngineError

RUNS = 5


def cold_starts(
    bundle: Path,
    variants: Sequence[tuple[str, str]],
    threads: int,
    shape: tuple[int, int],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return the medians over fresh processes of each (engine, precision), which take turns.

    The first start of each is dropped: it fills the disk cache, and that of compiled graphs, and
    writes the bytecode that an installation has and a checkout may lack.
    ``python_ms`` is from the start of the process to its first line of Python, ``whole_ms`` from
    the start to the first mask, by the clock of this process. ``*_mb`` are resident megabytes
    (10^6 bytes), null where the system does not say.
    """
    found: dict[str, list[dict[str, float | None]]] = {" ".join(pair): [] for pair in variants}
    count = (RUNS + 1) * len(found)
    for number in range(count):
        variant = variants[number % len(variants)]
        command = [sys.executable, "-m", __name__, str(bundle), *variant, str(threads)]
        found[" ".join(variant)].append(_run([*command, *(str(side) for side in shape)]))
        progress(number + 1, count)
    return [_row(name, runs[1:]) for name, runs in found.items()]


def _row(variant: str, runs: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    medians = {name: _median([run[name] for run in runs]) for name in runs[0]}
    return {"variant": variant, "runs": len(runs), **medians}


def _median(values: list[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _run(command: list[str]) -> dict[str, float | None]:
    spawned, clock = time.time(), time.perf_counter()
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=settings) as child:
        assert child.stdout is not None and child.stderr is not None
        line = child.stdout.readline()
        whole = time.perf_counter() - clock
        problem = child.stderr.read().decode(errors="replace").strip()
    if not line:
        last = problem.splitlines()[-1] if problem else f"exit code {child.returncode}"
        raise EngineError(f"a fresh process could not make a mask: {last}")
    answer = json.loads(line)
    started = answer.pop("started")
    return {"python_ms": 1000 * (started - spawned), **answer, "whole_ms": 1000 * whole}


def _memory(key: str) -> float | None:
    """Return a figure of /proc/self/status in megabytes."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((line for line in text.splitlines() if line.startswith(key + ":")), None)
    return int(line.split()[1]) * 1024 / 1e6 if line else None


def main(arguments: list[str]) -> None:
    """Make one mask and print what it took."""
    started, clock = time.time(), time.perf_counter()
    from foveate.runtime.cascade.cascade import Cascade

    imported = time.perf_counter()
    import_mb = _memory("VmRSS")
    bundle, engine, precision, threads, height, width = arguments
    cascade = Cascade.load(bundle, engine, precision, int(threads))
    loaded = time.perf_counter()
    load_mb = _memory("VmRSS")
    import numpy as np

    image = np.zeros((int(height), int(width), *cascade.spec.channel_side), np.uint8)
    begun = time.perf_counter()
    cascade(image)
    ended = time.perf_counter()
    answer = {
        "started": started,
        "import_ms": 1000 * (imported - clock),
        "load_ms": 1000 * (loaded - imported),
        "first_mask_ms": 1000 * (ended - begun),
        "import_mb": import_mb,
        "load_mb": load_mb,
        "peak_mb": _memory("VmHWM"),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
