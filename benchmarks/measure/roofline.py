"""How near a measured time is to what this machine's peaks allow for the same graph.

The floor of an operator is the greater of its arithmetic at the peak rate and its bytes at the
copying rate; floors add up. A floor belongs to the graph as it is written: a better graph has a
lower one. Tensors that stay in a cache move faster than the floor says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveate.benchmarks.measure.graph_cost import OperatorCost
    from foveate.benchmarks.measure.machine_peaks import Peaks

NEEDS_ONNX = "the roofline needs onnx: pip install 'foveate[train,benchmark]'"


def roofline(
    graph: bytes, height: int, width: int, measured_ms: float, cores: int
) -> tuple[dict[str, Any] | None, str]:
    """Return the roofline of one image of a size, as JSON values; None and why without onnx.

    ``measured_ms`` is what one image takes on all of ``cores``, array in, mask out, float32.
    """
    try:
        from foveate.benchmarks.measure.graph_cost import operator_costs
        from foveate.benchmarks.measure.machine_peaks import measured_peaks
    except ImportError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        return None, NEEDS_ONNX
    costs = operator_costs(graph, 1, height, width)
    found = share_of_peak(costs, measured_peaks(cores), measured_ms)
    return {"height": height, "width": width, **found}, ""


def share_of_peak(
    costs: Iterable[OperatorCost], peaks: Peaks, measured_ms: float
) -> dict[str, Any]:
    """Return the floors of the parts of a graph, their sum, and its share of the time measured."""
    parts: dict[str, dict[str, Any]] = {}
    for cost in costs:
        empty = {"part": cost.part, "gflop": 0.0, "mbyte": 0.0, "floor_ms": 0.0}
        part = parts.setdefault(cost.part, empty)
        part["gflop"] += cost.flop / 1e9
        part["mbyte"] += cost.bytes_moved / 1e6
        part["floor_ms"] += floor_ms(cost, peaks)
    total_ms = sum(part["floor_ms"] for part in parts.values())
    return {
        "parts": list(parts.values()),
        "peak_gflops": peaks.gflops,
        "copy_gb_s": peaks.copy_gb_s,
        "floor_ms": total_ms,
        "measured_ms": measured_ms,
        "share": total_ms / measured_ms,
    }


def floor_ms(cost: OperatorCost, peaks: Peaks) -> float:
    """Return the least time of one operator: arithmetic or memory, whichever takes longer."""
    return max(cost.flop / peaks.gflops, cost.bytes_moved / peaks.copy_gb_s) / 1e6
