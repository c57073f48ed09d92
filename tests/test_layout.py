"""The rules of the layout: which way imports point, what is heavy, and what the package holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "runtime": {"runtime"},
    "train": {"train", "runtime"},
    "export": {"export", "train", "runtime"},
    "benchmarks": {"benchmarks", "export", "train", "runtime"},
}
FOLDERS = {
    "runtime": "cli serve segment page cascade auto engines bundle io objects .",
    "train": "tuning . preview convert fitting runs calibration data networks reference settings",
    "export": ". importing int8 onnx_graph tensorrt",
    "benchmarks": "scripts . report evaluation compare measure schema",
}
"""The folders of a package from top to bottom, "." for its own modules: imports point down."""
MOST_MODULES = 13
CUDA = ("pycuda", "cuda")
TENSORRT = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")
HEAVY = ("torch", "onnx", "onnxruntime", "albumentations", "safetensors", "threadpoolctl")
HEAVY += ("pydicom", "gdcm", "highdicom", "nibabel")
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


def test_one_file_touches_the_augmentation_library() -> None:
    files = [path for folder in (*MAY_IMPORT, "src") for path in (ROOT / folder).rglob("*.py")]
    touching = [path for path in files if "albumentations" in imports(path)]
    assert [path.relative_to(ROOT).as_posix() for path in touching] == ["train/data/augment.py"]


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


def modules() -> dict[str, Path]:
    """Return every module of the four packages, by its name without foveate."""
    paths = (path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def imported(path: Path, known: Collection[str]) -> set[str]:
    """Return the modules that a file imports anywhere but for types alone."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{a.name}" for a in node.names)})
    return {name.removeprefix("foveate.") for name in found} & set(known)


def test_imports_point_down_between_the_folders_of_a_package() -> None:
    known = modules()
    for name, path in known.items():
        package, *rest = name.split(".")
        order = FOLDERS[package].split()
        for other in imported(path, known):
            if other.startswith(f"{package}."):
                below = other.split(".")[1:]
                mine, theirs = (part[0] if len(part) > 1 else "." for part in (rest, below))
                assert order.index(mine) <= order.index(theirs), f"{name} imports {other}"


def test_no_import_goes_in_a_circle() -> None:
    known = modules()
    left = {name: imported(path, known) - {name} for name, path in known.items()}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left, sorted(left)


def test_no_folder_holds_more_than_one_can_take_in() -> None:
    files = Counter(path.parent for path in modules().values() if path.name != "__init__.py")
    assert {str(folder): n for folder, n in files.items() if n > MOST_MODULES} == {}


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


def test_a_first_mask_loads_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    unused = ["PIL", "cv2", "asyncio", "concurrent.futures", "importlib.metadata", "logging"]
    unused += ["zipfile", "foveate.runtime.auto.plans", "foveate.runtime.engines.tensorrt"]
    code = (
        "import sys, numpy, onnxruntime; before = set(sys.modules)\n"
        "from foveate.runtime import Cascade\n"
        "Cascade.load('benchmarks/demo_bundle')(numpy.zeros((64, 64), numpy.uint8))\n"
        f"print((set(sys.modules) - before).intersection({unused!r}))"
    )
    assert python(code) == "set()"


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
