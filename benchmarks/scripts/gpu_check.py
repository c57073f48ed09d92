"""``make gpu-check``: what only a GPU can show, by the ordinary commands, within a time budget.

``python benchmarks/scripts/gpu_check.py REFERENCES OUT BUDGET_S`` runs each command as a process
with a limit. OUT gets ``gpu-check.json`` after every step, ``gpu-check.html`` and ``pytest.xml``.
Exit code 1: a bound does not hold or a required step did not pass; 2: a mistake in the command.
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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foveate.benchmarks.gpu_aims import aims
from foveate.benchmarks.limited_process import END_S, run_limited
from foveate.benchmarks.machine import machine_facts, producer, versions
from foveate.benchmarks.result_files import write_result
from foveate.runtime.atomic_files import write_atomically

TREE, LEAST_S = Path(__file__).resolve().parents[2], 4.0  # what a step is begun with
OPTIONAL = ("demo", "compare")  # how the names of steps begin that need not pass
FASTEST = {"tensorrt": "fp16", "onnxruntime-cuda": "fp16", "onnxruntime": "fp32"}
ENGINES = (("onnxruntime-cuda", ""), ("tensorrt", ""), ("tensorrt", "--target current"))


class Check:
    """Steps, each a process with a limit, that end within the budget of all."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.end = given, time.monotonic() + given.budget
        self.paths = {"temp": folder, "masks": given.references.resolve(), "tree": TREE}
        self.steps: list[dict[str, Any]] = []
        self.results: dict[str, Any] = {}
        self.broken: list[str] = []
        self.json = {
            "schema": 2, "kind": "gpu-check", "rehearsal": given.rehearsal, "foveate": producer(),
            "machine": machine_facts(), "versions": versions(), "broken": self.broken,
            "aims": [], "steps": self.steps, "results": self.results,
        }  # fmt: skip

    def run(self, name: str, limit_s: float, command: str) -> bool:
        """Run a command as a step; return whether it passed. Time for the page is kept back."""
        page_s = 0.0 if name == "report" else min(15.0, self.given.budget / 5)
        left, began = self.end - time.monotonic() - END_S - page_s, time.monotonic()
        result = self.paths["temp"] / f"{name}.json"
        command += f" --out {{temp}}/{name}.json" if " benchmark " in command and page_s else ""
        status, said = "skipped", f"{left:.0f} s left"
        self.steps.append({"name": name, "command": command, "status": "running"})
        self.write()
        if left >= LEAST_S:
            words = [word.format(**self.paths) for word in command.split()]
            status, said = run_limited(words, min(limit_s, left))
        if result.exists():
            self.results[name] = json.loads(result.read_bytes())
            lost = [key for key, row in self.results[name]["parity"].items() if not row["held"]]
            self.broken += [f"{name}: the masks of {variant} do not hold" for variant in lost]
            if status == "failed with 1":  # the page says which figure is not to be believed
                status = "not held" if lost else "doubted"
        if not name.startswith(OPTIONAL) and status not in ("passed", "doubted", "not held"):
            self.broken.append(f"{name}: {status}: {said.strip()[-400:]}")
        seconds = round(time.monotonic() - began, 1)
        self.steps[-1] |= {"status": status, "seconds": seconds, "said": said[-4000:]}
        self.write()
        print(f"{seconds} s  {name}: {status}", flush=True)
        return status in ("passed", "doubted")

    def write(self) -> None:
        """Write the JSON, whole; folders of this machine are named, not spelled out."""
        self.json["aims"] = aims([] if self.given.rehearsal else list(self.results.values()))
        text = json.dumps(self.json)
        for name, path in self.paths.items():
            text = text.replace(str(path), f"{{{name}}}")
        write_result(self.given.out / "gpu-check.json", json.loads(text))


def engines(check: Check) -> tuple[str, str]:
    """Return the engines that run the demo bundle here, and the option that builds their plans."""
    found, demo = [], "{tree}/benchmarks/demo_bundle --precision fp32"
    for engine, option in ENGINES:
        name = f"demo-{engine}{option.replace('--target ', '-')}"
        os.environ["FOVEATE_CACHE"] = str(check.paths["temp"] / name)
        if engine == "tensorrt":
            check.run(f"{name}-build", 60, f"foveate build {demo} --size 256x256 {option}")
        one = f"foveate benchmark parity {demo} --engines {engine} --size 256 --count 1"
        found += [engine] if check.run(name, 60, one) else []
        if found[-1:] == ["tensorrt"]:
            return ",".join(reversed(found)), option
    check.broken.append("TensorRT does not run here; its demo steps keep what it said")
    return ",".join(found) or "onnxruntime", ""


def plan(masks: Path, every: str, option: str, few: bool) -> Iterator[tuple[str, float, str]]:
    """Yield name, limit and command of every step, what says most first; ``few``: little work."""
    main, bench = every.split(",")[0], "foveate benchmark"
    fast = f"{{temp}}/phantoms --reference {{masks}}/phantoms --precision {FASTEST[main]}"
    names = sorted(path.parent.name for path in masks.glob("*/reference.json"))
    for name in sorted(names, key=lambda name: name != "phantoms"):
        bundle = "{temp}/phantoms" if name == "phantoms" else f"{{tree}}/examples/{name}"
        images = json.loads((masks / name / "reference.json").read_bytes())["images"].values()
        sizes = Counter("x".join(map(str, item["size"])) for item in images).most_common()
        shapes = f"--size {','.join(size for size, _ in sizes)} {option}"
        plans = [("fp16", "1,1,1"), ("fp32", "1,1,1"), ("tf32", "1,1,1"), ("fp16", "2,16,64")]
        for precision, batch in plans[: 4 if name == "phantoms" else 3]:
            words = f"{bundle} --precision {precision} --batch {batch} {shapes}"
            if main == "tensorrt":
                yield f"build-{name}-{precision}-{batch}", 60, f"foveate build {words}"
        own = f"{bundle} --reference {{masks}}/{name} --engines {every}"
        yield f"parity-{name}", 90, f"{bench} parity {own}"
        if name == "phantoms":
            runs, cells = (3, "1 --seconds 0.2") if few else (300, "1,4,16,64 --seconds 1")
            yield "latency", 90, f"{bench} latency {fast} --engines {main} --runs {runs}"
            words = f"{bench} throughput {fast} --engines {main} --workers 1 --batch {cells}"
            yield "throughput", 120, words
    tests = "{tree}/tests/gpu -q --tb=short -p no:cacheprovider --junitxml={temp}/pytest.xml"
    yield "pytest", 150, f"pytest -m gpu {tests} {'-k bytes_go' if few else ''}"
    for batch in (1,) if few else (1, 8):
        more = f"--engines {every} --batch {batch} --rounds {3 if few else 60}"
        yield f"compare-{batch}", 200, f"{bench} compare {fast} {more}"


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
        with tarfile.open(given.references / "bundle.tar.xz") as archive:
            archive.extractall(Path(folder) / "phantoms", filter="data")
        for step in plan(check.paths["masks"], *engines(check), given.rehearsal):
            check.run(*step)
        files = " ".join(f"{{temp}}/{name}.json" for name in check.results)
        check.run("report", 60, f"foveate benchmark report {files} --out {{temp}}/r")
        for source, name in (("pytest.xml", "pytest.xml"), ("r/index.html", "gpu-check.html")):
            if (path := Path(folder, source)).exists():
                write_atomically(given.out / name, lambda f, path=path: f.write(path.read_bytes()))
    for aim in check.json["aims"]:
        print(f"aim {'<=' if aim['at_most'] else '>='} {aim['bound']}: {aim['value']} {aim['aim']}")
    print(*(f"BROKEN: {line}" for line in check.broken), sep="\n")
    return 1 if check.broken else 0


if __name__ == "__main__":
    sys.exit(main())
