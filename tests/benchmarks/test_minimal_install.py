"""What counts as ours in a minimal installation, and which bars are watched."""

from __future__ import annotations

from typing import Any

from foveate.benchmarks.scripts.minimal_install import BEYOND, broken, needed, weighed

FINE = {BEYOND: 4.9, "import foveate.runtime, s": 0.2, "segment of one image, exit code": 0}


def package(mb: float, *needs: str, bytecode: float = 0.0) -> dict[str, Any]:
    return {"bytes": mb * 1e6, "bytecode": bytecode * 1e6, "needs": list(needs)}


PACKAGES = {
    "foveate": package(3, "numpy>=2.0", "filelock>=3.12", bytecode=1),
    "filelock": package(0.5),
    "numpy": package(70),
    "onnxruntime": package(80, "Protobuf (>=4)", "flat_buffers; python_version > '3'", "numpy"),
    "protobuf": package(2),
    "flat-buffers": package(1),
    "pip": package(10),
}


def test_what_the_expected_packages_need_is_theirs_and_the_rest_is_ours() -> None:
    assert needed(["onnxruntime"], PACKAGES) == {"onnxruntime", "protobuf", "flat-buffers", "numpy"}
    found = weighed(PACKAGES)
    assert found[BEYOND] == 3.5 and found["bytecode in that, MB"] == 1.0
    assert found["installed MB"] == 156.5 and "pip" not in found["installed MB by package"]


def test_each_bar_is_watched() -> None:
    assert broken(FINE) == []
    for name, value in ((BEYOND, 5.1), ("import foveate.runtime, s", 0.31)):
        assert len(broken({**FINE, name: value})) == 1
    assert broken({**FINE, "segment of one image, exit code": 1}) == ["segment fails"]
