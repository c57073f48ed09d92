"""List the CPU engines and precisions whose masks ``auto`` may trust on this machine.

float32 is within its bounds on every engine: the tests and export check it. Other precisions need
a record: of ``benchmark parity`` on this machine or, for int8 in ONNX Runtime, the bundle's own,
which export measured. A record of this machine takes precedence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foveate.runtime.auto.crashes import crash_reason
from foveate.runtime.auto.parity_records import parity_path, read_engine_parity
from foveate.runtime.bundle.bundle import Bundle, parity_rows
from foveate.runtime.engines.hardware import CpuEnvironment
from foveate.runtime.engines.registry import CUT_INT8
from foveate.runtime.errors import BundleError
from foveate.runtime.spec import BF16, graph_of

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
INT8 = "int8"


@dataclass(frozen=True)
class Candidate:
    """A CPU engine with a precision."""

    engine: str
    precision: str

    @property
    def label(self) -> str:
        return f"{self.engine} {self.precision}"


DEFAULT = Candidate(ONNXRUNTIME, "fp32")
"""Chosen unless another is clearly faster; export measured its masks."""
ORDER = (
    DEFAULT,
    Candidate(OPENVINO, "fp32"),
    Candidate(OPENVINO, BF16),
    Candidate(ONNXRUNTIME, INT8),
    Candidate(OPENVINO, INT8),
)
"""More exact candidates first; a later one must be clearly faster than those before it."""


@dataclass
class Candidates:
    """The allowed candidates, and by label why others are not allowed."""

    allowed: list[Candidate] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def cpu_candidates(bundle: Bundle, here: CpuEnvironment, precision: str = "") -> Candidates:
    """Return the candidates on this machine, only those of ``precision`` if given."""
    found = Candidates()
    for item in ORDER:
        if graph_of(item.precision) not in bundle.precisions:
            continue
        if precision and item.precision != precision:
            continue
        reason = _reason_against(bundle, here, item)
        if reason:
            found.left_out[item.label] = reason
        else:
            found.allowed.append(item)
    return found


def _reason_against(bundle: Bundle, here: CpuEnvironment, item: Candidate) -> str:
    """Return why a candidate is not allowed, empty if it is."""
    if item.engine not in here.versions:
        extra = "cpu" if item.engine == ONNXRUNTIME else item.engine
        return f"{item.engine} is not installed: pip install 'foveate[{extra}]'"
    crashes = crash_reason(bundle, here, item.engine, item.precision)
    if crashes or item == DEFAULT:
        return crashes
    if item.precision == BF16 and here.processor.lacks_bf16:
        return "this processor has no bfloat16 arithmetic"
    if item == Candidate(OPENVINO, INT8) and here.processor.cuts_int8:
        return CUT_INT8
    names = f"--engines {item.engine} --precision {item.precision}"
    measure = f"foveate benchmark parity {bundle.path} DATA {names}"
    try:
        parity = read_engine_parity(parity_path(bundle, here, item.engine, item.precision))
        if parity is not None:
            return "" if parity.proves else f"its masks differ too much: {parity}"
        if item.precision == "fp32" or _held_in_export(bundle, item):
            return ""
    except BundleError as error:
        return f"{error}; measure again: {measure}"
    return f"its masks have not been measured on this processor: {measure}"


def _held_in_export(bundle: Bundle, item: Candidate) -> bool:
    """Return whether the bundle's own record counts; export measures int8 in ONNX Runtime only."""
    measured = item == Candidate(ONNXRUNTIME, INT8)
    return measured and parity_rows(bundle).get(INT8, {}).get("held") is True
