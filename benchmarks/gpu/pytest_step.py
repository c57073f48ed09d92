"""``pytest -m gpu tests/gpu``, summed up from its own XML."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from foveate.benchmarks.gpu.task import CHECKOUT, Task
from foveate.runtime.errors import EngineError

TESTS = "tests/gpu"
LONG = "over_a_stream"
"""3,000 images: seconds on a GPU, minutes in a rehearsal."""
MESSAGE = 600
"""Characters kept of a failure."""


def run(task: Task) -> None:
    """Run the tests that need a GPU; raises when one fails."""
    report = task.out / "pytest.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", TESTS, "-v", "--tb=short"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["-k", f"not {LONG}"] if task.settings.rehearsal else []
    done = subprocess.run(command, cwd=CHECKOUT, check=False)
    if not report.exists():
        raise EngineError(f"pytest ended with {done.returncode} and wrote no report")
    found = summary(report)
    task.keep(found)
    if found["failures"] or not found["tests"]:
        raise EngineError(f"{len(found['failures'])} of {found['tests']} GPU tests failed")


def summary(report: Path) -> dict[str, Any]:
    """Return counts, and the failures with their messages, of a junit file."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures, skipped = [], []
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        for child in case:
            if child.tag in ("failure", "error"):
                text = child.text or child.get("message") or ""
                failures.append({"name": name, "message": text.strip()[-MESSAGE:]})
            elif child.tag == "skipped":
                skipped.append({"name": name, "message": child.get("message", "")[:MESSAGE]})
    return {"tests": len(cases), "failures": failures, "skipped": skipped}
