"""The table of ``docs/tensorrt.md`` against the bindings themselves: names, arguments, versions."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "tensorrt.md"
SOURCES = (
    "export/tensorrt/build.py", "export/tensorrt/watch.py", "runtime/engines/tensorrt/plan.py",
)  # fmt: skip
RTX_ALONE = ("ICudaEngine.create_runtime_config",)
"""What the lean runtime has too, and we use with TensorRT-RTX alone."""
ROW = re.compile(r"^\| (`[^|]+`) \| (\S+) \| (\S+) \| (\S+) \|", re.MULTILINE)
CALL = re.compile(r"`([\w.]+)(?:\(([\w, ]*)\))?`")
CALLS = [
    pytest.param(call[1], call[2], *row.groups()[1:], id=call[1])
    for row in ROW.finditer(PAGE.read_text())
    for call in CALL.finditer(row[1])
]
NAMES = [str(call.id) for call in CALLS]


def found(module: Any, name: str) -> Any:
    """Return what a dotted name stands for in a module, None when it is not there."""
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def check(module: Any, name: str, arguments: str | None) -> None:
    """Fail unless the name is there and takes the arguments, by the names the page gives them."""
    item = found(module, name)
    assert item is not None, f"{module.__name__} has no {name}"
    if arguments is None:
        return
    if inspect.isfunction(item):
        assert list(inspect.signature(item).parameters) == arguments.split(", ")
        return
    documented = (item.__init__ if isinstance(item, type) else item).__doc__ or ""
    signatures = re.findall(r"\w+\(self[^,)]*,? ?(.*?)\) -> ", documented)
    names = [re.findall(r"(?:^|, )(\w+):", signature) for signature in signatures]
    wanted = [word for word in arguments.split(", ") if word]
    assert any(names[: len(wanted)] == wanted for names in names), documented


def test_the_table_is_read() -> None:
    assert len(CALLS) > 30


@pytest.mark.parametrize(("name", "arguments", "ten", "eleven", "rtx"), CALLS)
def test_a_call_is_in_tensorrt_rtx(
    name: str, arguments: str | None, ten: str, eleven: str, rtx: str
) -> None:
    module = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    if rtx != "-":
        check(module, name, arguments)


@pytest.mark.parametrize(("name", "arguments", "ten", "eleven", "rtx"), CALLS)
def test_a_call_is_in_what_the_lean_runtime_shares_with_tensorrt_11(
    name: str, arguments: str | None, ten: str, eleven: str, rtx: str
) -> None:
    module = pytest.importorskip("tensorrt_lean", exc_type=ImportError)
    if found(module, name.split(".")[0]) is None:
        assert name.startswith(("Builder", "IBuilder", "INetwork", "Network", "OnnxParser",
                                "ParserError", "ComputeCapability", "IRuntime", "CudaGraph",
                                "DynamicShapes")), name  # fmt: skip
    elif eleven == "-":
        assert found(module, name) is None or name in RTX_ALONE
    else:
        check(module, name, arguments)


def test_the_table_has_every_call_of_the_source() -> None:
    names = {name.split(".")[-1] for name in NAMES}
    root = Path(__file__).parents[3]
    text = "".join((root / name).read_text() for name in SOURCES)
    kinds = "builder|parser|config|profile|network|timings|error|_engine|_context|_runtime|kept"
    objects = rf"\b(?:{kinds})\.([a-z]\w+)"
    constants = re.findall(r"\btrt\.([A-Z]\w+(?:\.[A-Z][A-Z_\d]+)?)", text)
    used = {*re.findall(objects, text), *(name.split(".")[-1] for name in constants)}
    classes = {name.split(".")[0] for name in NAMES}
    assert used - names - classes - {"VERBOSE"} == set()
