"""What an integrator ships: a fresh environment with the extra ``cpu`` alone, weighed and timed.

``python -m foveate.benchmarks.scripts.minimal_install`` in a checkout; pip fetches what is not
cached.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.schema.result_files import provenance, write_result

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "benchmarks" / "demo_bundle"
EXPECTED = ("onnxruntime", "numpy", "opencv-python-headless", "pillow", "click")
"""What has to be there; with what these need, and ``OURS_MB`` for the rest."""
TOOLS = ("pip", "setuptools", "wheel")
OURS_MB = 5.0
IMPORT_S = 0.3
RUNS = 9
BEYOND = "beyond the expected packages, MB"
MB = 1_000_000

SIZES = """
import json
from importlib.metadata import distributions
found = {}
for item in distributions():
    paths = [path for path in map(item.locate_file, item.files or []) if path.is_file()]
    sizes = {str(path): path.stat().st_size for path in paths}
    found[item.name.lower()] = {
        "bytes": sum(sizes.values()),
        "bytecode": sum(size for path, size in sizes.items() if path.endswith(".pyc")),
        "needs": [line for line in item.requires or [] if "extra ==" not in line],
    }
print(json.dumps(found))
"""
IMPORT = """
import time
started = time.perf_counter()
import foveate.runtime
print(time.perf_counter() - started)
"""
FACE = IMPORT.replace("import foveate.runtime", "from foveate.runtime import Cascade")
FIRST_MASK = """
import sys, time
import numpy as np
from foveate.runtime import Cascade
with Cascade.load(sys.argv[1], "onnxruntime") as cascade:
    mask = cascade(np.zeros((1024, 1024), cascade.spec.input_type)).mask
print(time.time() - float(sys.argv[2]))
"""
PEAK = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(json.dumps([done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""


class Environment:
    """A virtual environment with this checkout installed, as a wheel, with one extra."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"

    def make(self) -> None:
        """Install, with the constraints that are tested; raises CalledProcessError."""
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        packages = ["-c", str(ROOT / "constraints.txt"), f"{ROOT}[cpu]"]
        subprocess.run([*pip, *packages], check=True)

    def says(self, *arguments: str) -> str:
        """Return what a fresh Python there prints, of arguments such as ``-c CODE``."""
        environment = {**os.environ, "FOVEATE_CACHE": str(self.folder / "cache")}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [str(self.python), *arguments],
            check=True, capture_output=True, text=True, cwd=self.folder, env=environment,
        )  # fmt: skip
        return done.stdout.strip()

    def median_s(self, code: str) -> float:
        """Return the median seconds that fresh processes print; the first only fills caches."""
        self.says("-c", code)
        return statistics.median(float(self.says("-c", code)) for _ in range(RUNS))


def needed(names: Iterable[str], packages: dict[str, Any]) -> set[str]:
    """Return packages and all that they need, of those that are installed."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in packages and name not in found:
            found.add(name)
            waiting += [_name(line) for line in packages[name]["needs"]]
    return found


def _name(requirement: str) -> str:
    """Return the name at the front of a requirement's line."""
    end = next((at for at, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), None)
    return requirement[:end].lower().replace("_", "-")


def weighed(packages: dict[str, Any]) -> dict[str, Any]:
    """Return installed MB by package and in all, and what goes beyond what is expected."""
    sizes = {name: item["bytes"] / MB for name, item in packages.items() if name not in TOOLS}
    ours = sizes.keys() - needed(EXPECTED, packages)
    return {
        "installed MB by package": {n: round(s, 2) for n, s in sorted(sizes.items())},
        "installed MB": round(sum(sizes.values()), 2),
        BEYOND: round(sum(sizes[name] for name in ours), 2),
        "bytecode in that, MB": round(sum(packages[n]["bytecode"] for n in ours) / MB, 2),
    }


def measured(environment: Environment, bundle: Path, image: Path) -> dict[str, Any]:
    """Return what the environment weighs, and what its first mask takes."""
    found = weighed(json.loads(environment.says("-c", SIZES)))
    starts = [
        float(environment.says("-c", FIRST_MASK, str(bundle), str(time.time())))
        for _ in range(RUNS)
    ]
    out = environment.folder / "masks"
    segment = ["-m", "foveate", "segment", str(bundle), str(image), "--out", str(out)]
    said = environment.says("-c", PEAK, str(environment.python), *segment)
    code, peak_kb = json.loads(said)
    return {
        **found,
        "import foveate.runtime, s": round(environment.median_s(IMPORT), 4),
        "import Cascade, s": round(environment.median_s(FACE), 4),
        "process start to first mask, s": round(statistics.median(starts), 3),
        "segment of one image, exit code": code,
        "segment of one image, peak MB": round(peak_kb * 1024 / MB, 1),
    }


def broken(found: dict[str, Any]) -> list[str]:
    """Return which bars do not hold."""
    said = []
    if found[BEYOND] > OURS_MB:
        said.append(f"more than {OURS_MB} MB beyond {', '.join(EXPECTED)} and what they need")
    if found["import foveate.runtime, s"] > IMPORT_S:
        said.append(f"the import takes more than {IMPORT_S} s")
    if found["segment of one image, exit code"]:
        said.append("segment fails")
    return said


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), default=DEMO)
@click.option("--out", type=click.Path(path_type=Path), help="File of the result, JSON.")
def main(bundle: Path, out: Path | None) -> None:
    """Install into a fresh environment; say what it weighs and how soon the first mask comes."""
    from foveate.train.data.phantom import PhantomSettings, write_phantoms

    with tempfile.TemporaryDirectory(prefix="foveate-minimal-") as folder:
        list(write_phantoms(Path(folder), PhantomSettings(1, 1024, seed=1)))
        (image,) = (Path(folder) / "images").iterdir()
        environment = Environment(Path(folder) / "environment")
        environment.make()
        found = measured(environment, bundle.resolve(), image)
    problems = broken(found)
    for name, value in found.items():
        click.echo(f"{name}: {value}")
    for line in problems:
        click.echo(f"BROKEN: {line}")
    if out is not None:
        result = {"schema": 1, "kind": "minimal-install", **provenance()}
        write_result(out, {**result, "found": found, "broken": problems})
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
