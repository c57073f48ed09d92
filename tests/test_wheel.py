"""The wheel: what it leaves out nobody who installs it misses, and it stays small."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath
from zipfile import ZipFile

import pytest

from tests.test_layout import MAY_IMPORT, ROOT

PARTS = (*MAY_IMPORT, "src", "setup.py", "pyproject.toml", "README.md", "LICENSE")
MOST_BYTES = 2_800_000
"""Its Python is there as bytecode too: 5 MB are what foveate may add to its dependencies."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the wheel of this checkout, by path."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            skip = shutil.ignore_patterns("__pycache__", "results", "*.egg-info")
            shutil.copytree(source, folder / "source" / part, ignore=skip)
        else:
            shutil.copy(source, folder / "source" / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    how = ["--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source")]
    subprocess.run([*pip, *how], check=True)
    with ZipFile(next(folder.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def module_names(files: dict[str, bytes]) -> dict[str, str]:
    """Return the import name of every module, with its path in the wheel."""
    names = {}
    for name in files:
        if name.endswith(".py"):
            dotted = ".".join(PurePosixPath(name).with_suffix("").parts)
            names[dotted.removesuffix(".__init__")] = name
    return names


def mentioned(code: bytes) -> Iterator[str]:
    """Yield the modules of foveate that a module names, in imports and in texts such as -m's."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]


def own_modules() -> set[str]:
    """Return the import names of all modules of the checkout."""
    found = set()
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.add(f"foveate.{dotted}".removesuffix(".__init__"))
    return found


def test_nothing_in_it_needs_what_it_leaves_out(wheel: dict[str, bytes]) -> None:
    names = module_names(wheel)
    left_out = own_modules() - set(names)
    assert "foveate.benchmarks.scripts.minimal_install" in left_out
    for name, path in names.items():
        assert not left_out & set(mentioned(wheel[path])), name


def test_only_benchmarks_leaves_out_and_all_that_no_command_needs(wheel: dict[str, bytes]) -> None:
    names, seen = module_names(wheel), set[str]()
    waiting = ["foveate.cli", "foveate.__main__", "foveate.runtime", "foveate.train"]
    waiting += [name for name in names if ".peers." in name]  # taken by name, each by itself
    while waiting:
        name = waiting.pop()
        if name in names and name not in seen:
            seen.add(name)
            waiting += [name.rpartition(".")[0], *mentioned(wheel[names[name]])]
    assert set(names) == seen
    assert all(name.startswith("foveate.benchmarks.") for name in own_modules() - set(names))


def test_it_is_small_and_has_what_the_demo_wants(wheel: dict[str, bytes]) -> None:
    assert sum(map(len, wheel.values())) < MOST_BYTES
    data = {name for name in wheel if name.startswith("foveate/") and not name.endswith(".py")}
    assert data == {
        "foveate/py.typed",
        "foveate/runtime/serve/page.html",
        *(
            f"foveate/runtime/page/{name}"
            for name in ("run.css", "run.html", "run.js", "style.css")
        ),
        "foveate/benchmarks/demo_bundle/manifest.json",
        "foveate/benchmarks/demo_bundle/cascade.fp32.onnx",
        "foveate/benchmarks/demo_bundle/parity.json",
        "foveate/benchmarks/demo_bundle/preview.png",
        *(f"foveate/benchmarks/page/{path.name}" for path in (ROOT / "benchmarks/page").iterdir()),
    }
