"""compute-sanitizer around our own use of CUDA: a ring of copies, and the demo's segmentation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from foveate.benchmarks.gpu.task import CHECKOUT, Task
from foveate.runtime.errors import EngineError

TOOL = "compute-sanitizer"
PLACES = "/usr/local/cuda/bin"
FOUND_ERRORS = 9
LIMIT_S = 200
REHEARSALS = "tests.runtime.cuda_rehearsals"
KEPT_LINES = 8


def run(task: Task) -> None:
    """Run each program under the tool's memcheck; raises when it finds something."""
    tool = shutil.which(TOOL) or shutil.which(TOOL, path=PLACES)
    task.keep({"tool": tool})
    if tool is None:
        task.say(f"{TOOL} is not on the PATH and not in {PLACES}: nothing was checked")
        return
    rows: list[dict[str, Any]] = []
    for name, program in _programs(task).items():
        command = [tool, "--error-exitcode", str(FOUND_ERRORS), sys.executable, *program]
        try:
            done = subprocess.run(
                command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
            code, text = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            code, text = -1, f"no answer in {LIMIT_S} s"
        last = [line[:400] for line in text.splitlines() if line.strip()][-KEPT_LINES:]
        rows.append({"program": name, "exit_status": code, "last_lines": last})
        task.keep({"runs": rows})
        task.say(f"{name}: exit status {code}; {last[-1] if last else 'no output'}")
    bad = [row["program"] for row in rows if row["exit_status"]]
    if bad:
        raise EngineError(f"{TOOL} found errors, or could not run, in {', '.join(bad)}")


def _programs(task: Task) -> dict[str, list[str]]:
    """Return Python arguments by name; the ring of copies needs the tests of a checkout."""
    job = Path(task.settings.out) / "steps" / "sanitizer-smoke.job.json"
    found = job.with_name("sanitizer-smoke.json")
    job.write_text(task.as_job({"engine": task.arguments["smoke"]}), encoding="utf-8")
    programs = {"the demo": ["-m", "foveate.benchmarks.gpu.worker", str(job), str(found)]}
    if (CHECKOUT / "tests" / "runtime" / "cuda_rehearsals.py").exists():
        programs = {"a ring of copies": ["-m", REHEARSALS, "ring"], **programs}
    return programs
