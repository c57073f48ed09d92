"""The process of one step: ``python -m foveate.benchmarks.gpu.worker JOB.json RESULTS.json``."""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from foveate.benchmarks.gpu.task import Task
from foveate.benchmarks.result_files import write_result
from foveate.runtime.errors import FoveateError

KINDS = {
    name: f"foveate.benchmarks.gpu.{name}_step"
    for name in (
        "smoke", "pytest", "build", "parity", "latency", "throughput", "torch", "soak", "sanitizer",
    )
}  # fmt: skip
"""Kind of a step -> its module; each has ``run(task)``."""


def main(job: Path, results: Path) -> int:
    """Run a step; its results are written whenever it has something more."""
    values = json.loads(job.read_text(encoding="utf-8"))
    kept: dict[str, Any] = {}

    def keep(found: dict[str, Any]) -> None:
        kept.update(found)
        write_result(results, kept)

    task = Task.of(values, keep)
    keep({})
    try:
        importlib.import_module(KINDS[values["kind"]]).run(task)
    except FoveateError as error:
        print(error, flush=True)
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
