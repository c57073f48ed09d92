"""What ``auto`` may take on a CPU: engines and precisions whose masks are known to be right here.

float32 is held to its bounds on every engine by the tests and by export. Every other precision
needs a record: of ``benchmark parity`` here, or for int8 in ONNX Runtime the bundle's own, which
export measured with that engine. A record made here goes before everything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from foveate.runtime.auto.cpu_environment import CpuPlace
from foveate.runtime.auto.parity_records import parity_path, read_engine_parity
from foveate.runtime.bundle.bundle import Bundle, parity_rows
from foveate.runtime.engines.tensorrt.plan_record import BF16, graph_of
from foveate.runtime.errors import BundleError

ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"
INT8 = "int8"


@dataclass(frozen=True)
class Candidate:
    """An engine of a CPU with a precision."""

    engine: str
    precision: str

    @property
    def label(self) -> str:
        return f"{self.engine} {self.precision}"


USUAL = Candidate(ONNXRUNTIME, "fp32")
"""What is taken unless another is clearly faster. Its masks are what export measured."""
ORDER = (
    USUAL,
    Candidate(OPENVINO, "fp32"),
    Candidate(OPENVINO, BF16),
    Candidate(ONNXRUNTIME, INT8),
    Candidate(OPENVINO, INT8),
)
"""The more exact ones first; a later one must be clearly faster than those before it."""


@dataclass
class Candidates:
    """What may be taken, and what may not with the reason, by label."""

    allowed: list[Candidate] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def cpu_candidates(bundle: Bundle, here: CpuPlace, precision: str = "") -> Candidates:
    """Return what may be taken here; ``precision`` leaves only that one."""
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


def _reason_against(bundle: Bundle, here: CpuPlace, item: Candidate) -> str:
    """Return why a candidate may not be taken, empty when it may."""
    if item.engine not in here.versions:
        extra = "cpu" if item.engine == ONNXRUNTIME else item.engine
        return f"{item.engine} is not installed: pip install 'foveate[{extra}]'"
    if item == USUAL:
        return ""
    if item.precision == BF16 and here.processor.lacks_bf16:
        return "this processor has no bfloat16 arithmetic"
    names = f"--engines {item.engine} --precision {item.precision}"
    measure = f"foveate benchmark parity {bundle.path} DATA {names}"
    try:
        parity = read_engine_parity(parity_path(bundle, here, item.engine, item.precision))
        if parity is not None:
            return "" if parity.proves else f"its masks are not good enough: {parity}"
        if item.precision == "fp32" or _held_in_export(bundle, here, item):
            return ""
    except BundleError as error:
        return f"{error}; measure again: {measure}"
    return f"its masks were not measured on this processor: {measure}"


def _held_in_export(bundle: Bundle, here: CpuPlace, item: Candidate) -> bool:
    """Say whether the bundle's own record counts here; export ran int8 in ONNX Runtime alone."""
    if item != Candidate(ONNXRUNTIME, INT8) or not here.processor.exact_int8:
        return False
    return parity_rows(bundle).get(INT8, {}).get("held") is True
