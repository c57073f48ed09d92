"""The rules of the layout: which way imports point, what is heavy, and what the package holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "runtime": {"runtime"},
    "train": {"train", "runtime"},
    "export": {"export", "train", "runtime"},
    "benchmarks": {"benchmarks", "export", "train", "runtime"},
}
CUDA = ("pycuda", "cuda")
TENSORRT = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")
HEAVY = ("torch", "onnx", "onnxruntime", "albumentations", "safetensors", "threadpoolctl")
HEAVY += (*CUDA, *TENSORRT, "cryptography")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def imports_by_name(path: Path) -> set[str]:
    """The modules that a file imports by a text, as import_module("pycuda.driver") does."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        if "import" in ast.unparse(node.func)
    }


def test_one_file_touches_cuda() -> None:
    files = [path for folder in (*MAY_IMPORT, "src") for path in (ROOT / folder).rglob("*.py")]
    touching = {
        path.relative_to(ROOT).as_posix()
        for path in files
        for name in imports(path) | imports_by_name(path)
        if name.split(".")[0] in CUDA
    }
    assert touching == {"runtime/engines/cuda/pycuda_device.py"}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "foveate" and len(parts) > 1:
                assert parts[1] in MAY_IMPORT[folder], f"{path} imports {name}"
            if folder == "runtime":
                assert parts[0] not in ("torch", "onnx"), f"{path} imports {name}"


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_runtime_module_but_the_engine_imports_without_anything_heavy() -> None:
    names = [
        "foveate." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "runtime").rglob("*.py"))
        if path.name != "__init__.py" and not path.name.startswith("onnxruntime")
    ]
    names += [
        "foveate.cli",
        "foveate.train.cli",
        "foveate.train.data.phantom",
        "foveate.train.data.dataset",
    ]
    names += ["foveate.export.cli", "foveate.benchmarks.cli", "foveate.benchmarks.demo"]
    names += ["foveate.benchmarks.benchmark_cli", "foveate.export.build_cli"]
    # and what it imports: export/tensorrt runs where torch does not
    names += ["foveate.export.tensorrt.plan_job"]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))"
    python(f"{blocked}; import importlib; [importlib.import_module(n) for n in {names!r}]")


def test_the_help_loads_no_numpy() -> None:
    code = (
        "import sys, foveate.cli, click.testing as t; "
        "r = t.CliRunner().invoke(foveate.cli.group, ['--help']); assert r.exit_code == 0, r; "
        "print('numpy' in sys.modules, 'cv2' in sys.modules)"
    )
    assert python(code) == "False False"


def test_the_cache_of_plans_loads_no_numpy() -> None:
    folder = "foveate.runtime.engines.tensorrt"
    rooms = f"{folder}.plan_lookup, {folder}.plan_cache, foveate.export.build_cli"
    assert python(f"import sys, {rooms}; print('numpy' in sys.modules)") == "False"


def test_the_folders_are_not_importable_a_second_time() -> None:
    import foveate.runtime

    assert foveate.runtime.__name__ == "foveate.runtime"
    assert "runtime" not in sys.modules and "train" not in sys.modules


def test_a_missing_engine_names_the_install_line() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from foveate.runtime.engines.registry import engine_from_onnx\n"
        "from foveate.runtime.errors import EngineError\n"
        "try: engine_from_onnx('onnxruntime', b'')\n"
        "except EngineError as error: print(error)"
    )
    assert "pip install 'foveate[cpu]'" in python(code)
