"""``make gpu-check``: what only a GPU can show, by the ordinary commands, within a time budget.

``python benchmarks/scripts/gpu_check.py REFERENCES OUT BUDGET_S`` writes ``gpu-check.json`` after
every step, ``gpu-check.html`` and ``pytest.xml``. Exit code 1: a bound does not hold or a required
step did not pass; 2: a mistake in the command.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foveate.benchmarks.measure.stored_reference import stored_sizes
from foveate.benchmarks.schema.result_files import provenance, write_result
from foveate.benchmarks.scripts.gpu_steps import END_S, aims, run_limited
from foveate.runtime.atomic_files import write_atomically

TREE, LEAST_S = Path(__file__).resolve().parents[2], 4.0  # what a step is begun with
ENGINES = (("onnxruntime-cuda", ""), ("tensorrt", ""), ("tensorrt", "--target current"))


class Check:
    """Steps, each a process with a limit, that end within the budget of all."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.end = given, time.monotonic() + given.budget
        self.paths = {"temp": folder, "masks": given.references.resolve(), "tree": TREE}
        self.results, self.broken = dict[str, Any](), list[str]()
        self.json: dict[str, Any] = {"schema": 2, "kind": "gpu-check", "rehearsal": given.rehearsal}
        self.json |= provenance()
        self.json |= {"broken": self.broken, "steps": [], "results": self.results}

    def run(self, name: str, limit_s: float, command: str) -> bool:
        """Run a command as a step; return whether it passed. Time for the page is kept back."""
        page_s = 0.0 if name == "report" else min(15.0, self.given.budget / 5)
        left = max(0.0, self.end - time.monotonic() - END_S - page_s)
        status, said, seconds = "skipped", f"{left:.0f} s left", 0.0
        result = self.paths["temp"] / f"{name}.json"
        command += f" --out {{temp}}/{name}.json" if " benchmark " in command and page_s else ""
        self.json["steps"].append({"name": name, "command": command, "status": "running"})
        self.write()
        if left >= LEAST_S:
            words = [word.format(**self.paths) for word in command.split()]
            status, said, seconds = run_limited(words, min(limit_s, left))
        found = json.loads(result.read_bytes()) if result.exists() else {"parity": {}}
        lost = [variant for variant, row in found["parity"].items() if not row["held"]]
        self.broken += [f"{name}: the masks of {variant} do not hold" for variant in lost]
        self.results |= {name: found} if result.exists() else {}
        if status == "failed with 1" and " benchmark " in command and "Traceback" not in said:
            status = "doubted"  # the page says what, and why
        passed = status in ("passed", "doubted")
        if not passed and not name.startswith(("try", "compare")):
            self.broken.append(f"{name}: {status}: {said.strip()[-400:]}")
        self.json["steps"][-1] |= {"status": status, "seconds": seconds, "said": said[-4000:]}
        self.write()
        print(f"{name}: {status}, {seconds} s", flush=True)
        return passed and not lost

    def write(self) -> None:
        """Write the JSON, whole; folders of this machine are named, not spelled out."""
        self.json["aims"] = aims([] if self.given.rehearsal else list(self.results.values()))
        text = json.dumps(self.json)
        for name, path in self.paths.items():
            text = text.replace(str(path), f"{{{name}}}")
        write_result(self.given.out / "gpu-check.json", json.loads(text))


def engines(check: Check) -> tuple[str, str]:
    """Return the engines that run here, and the option that builds plans for this GPU."""
    found, one = [], "{temp}/phantoms --precision fp32"
    for engine, option in ENGINES:
        name = f"try-{engine}{option.replace('--target ', '-')}"
        os.environ["FOVEATE_CACHE"] = str(check.paths["temp"] / name)
        if engine == "tensorrt":
            size = stored_sizes(check.paths["masks"] / "phantoms")
            check.run(f"{name}-build", 60, f"foveate build {one} --size {size} {option}")
        words = f"{one} --reference {{masks}}/phantoms --engines {engine}"
        found += [engine] if check.run(name, 60, f"foveate benchmark parity {words}") else []
        if found[-1:] == ["tensorrt"]:
            return ",".join(reversed(found)), option
    check.broken.append("TensorRT does not run here; what it said stands in its steps")
    return ",".join(found) or "onnxruntime", ""


def plan(masks: Path, every: str, option: str, few: bool) -> Iterator[tuple[str, float, str]]:
    """Yield name, limit and command of every step, what says most first; ``few``: little work."""
    main, bench = every.split(",")[0], "foveate benchmark"
    fast = "{temp}/phantoms --reference {masks}/phantoms --precision "
    fast += f"{'fp32' if main == 'onnxruntime' else 'fp16'} --engines"
    names = {path.parent.name for path in masks.glob("*/reference.json")} - {"phantoms"}
    for name in ("phantoms", *sorted(names)):
        bundle = f"{{temp}}/{name}"
        plans = ["fp16 --batch 1,1,1", "fp32", "tf32", "fp16 --batch 2,16,64"]
        plans = plans[: 4 if name == "phantoms" else 3] if main == "tensorrt" else []
        for number, words in enumerate(plans):
            words = f"{bundle} --size {stored_sizes(masks / name)} {option} --precision {words}"
            yield f"build-{name}-{number}", 60, f"foveate build {words}"
        own = f"{bundle} --reference {{masks}}/{name} --engines {every}"
        yield f"parity-{name}", 90, f"{bench} parity {own}"
        if name == "phantoms":
            runs, cells = (3, "1 --seconds 0.2") if few else (300, "1,4,16,64 --seconds 1")
            yield "latency", 90, f"{bench} latency {fast} {main} --runs {runs}"
            yield "throughput", 120, f"{bench} throughput {fast} {main} --workers 1 --batch {cells}"
    tests = "{tree}/tests/gpu -q --tb=short -p no:cacheprovider --junitxml={temp}/pytest.xml"
    yield "pytest", 150, f"pytest -m gpu {tests} {'-k bytes_go' if few else ''}"
    for batch in (1,) if few else (1, 8):
        words = f"{bench} compare {fast} {every} --batch {batch} --rounds {3 if few else 60}"
        yield f"compare-{batch}", 200, words


def unpack(archive: Path, target: Path) -> None:
    """Unpack a tar, with no file outside ``target`` where Python knows how (3.10.12, 3.11.4)."""
    with tarfile.open(archive) as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("references", Path), ("out", Path), ("budget", float)):
        parser.add_argument(name, type=kind)
    parser.add_argument("--rehearsal", action="store_true", help="no GPU: little work, no aims")
    given = parser.parse_args()
    if not (given.references / "phantoms" / "reference.json").exists():
        parser.error(f"{given.references} is not a folder made by make gpu-references")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="foveate-gpu-check-") as folder:
        check = Check(given, Path(folder))
        for archive in given.references.rglob("bundle.tar.xz"):
            own = archive.parent != given.references
            target = Path(folder, archive.parent.name if own else "phantoms")
            unpack(archive, target)
        for step in plan(check.paths["masks"], *engines(check), given.rehearsal):
            check.run(*step)
        files = " ".join(f"{{temp}}/{name}.json" for name in check.results)
        check.run("report", 60, f"foveate benchmark report {files} --out {{temp}}/r")
        for source, name in (("pytest.xml", "pytest.xml"), ("r/index.html", "gpu-check.html")):
            if (path := Path(folder, source)).exists():
                write_atomically(given.out / name, path.read_bytes())
    for aim in check.json["aims"]:
        print(f"aim {'<=' if aim['at_most'] else '>='} {aim['bound']}: {aim['value']} {aim['aim']}")
    print(*(f"broken: {line}\n" for line in check.broken), sep="", end="")
    return 1 if check.broken else 0


if __name__ == "__main__":
    sys.exit(main())
