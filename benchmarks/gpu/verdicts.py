"""What a check comes to: bounds that hold or not, aims that are met or not, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foveate.benchmarks.gpu.bench import RING
from foveate.benchmarks.gpu.step_runner import PASSED
from foveate.benchmarks.gpu.throughput_step import CASCADE

P50_MS = 0.5
OF_CEILING = 0.95
OVER_TORCH = 3.0
FASTEST = "fp16"
Steps = Sequence[Mapping[str, Any]]


def of_kind(steps: Steps, kind: str) -> list[Mapping[str, Any]]:
    return [step for step in steps if step["kind"] == kind]


def rows_of(steps: Steps, kind: str, name: str = "rows") -> list[Mapping[str, Any]]:
    """Return the rows of all steps of a kind, also of those that failed later on."""
    return [row for step in of_kind(steps, kind) for row in step["results"].get(name, [])]


def parities(steps: Steps) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parity behind every figure of ours, with its name; PyTorch's are its own matter."""
    for step in of_kind(steps, "parity"):
        for precision, row in step["results"].get("parity", {}).items():
            yield f"{step['name']} {precision}", row
    for step in of_kind(steps, "latency"):
        for mode, row in step["results"].get("parity", {}).items():
            yield f"{step['name']}, {mode}", row
    for step in of_kind(steps, "throughput"):
        if "parity" in step["results"]:
            yield step["name"], step["results"]["parity"]


def broken(steps: Steps) -> list[str]:
    """Return the bounds that do not hold and the required steps that did not pass, in words."""
    found = [
        f"{name}: disagreement {row['disagreement']:.5f} (at most {row['disagreement_bound']:g}), "
        f"change of the mean Dice {row['dice_change'] or 0:+.5f} "
        f"(at most {row['dice_change_bound']:g})"
        for name, row in parities(steps)
        if not row["held"]
    ]
    return found + [
        f"{step['name']} {step['status']}: {step['reason']}"
        for step in steps
        if step["required"] and step["status"] != PASSED
    ]


def doubts(steps: Steps) -> list[str]:
    """Return what a reader must know before the speeds."""
    return [
        f"throughput {row['precision']}, batch {row['batch']}: {pixels} pixels of the masks of "
        f"{side} are not the cascade's"
        for row in rows_of(steps, "throughput")
        for side, pixels in row.get("differing_pixels", {}).items()
        if pixels
    ]


def aims(steps: Steps, rehearsal: bool = False) -> list[dict[str, Any]]:
    """Return each aim with its value; None where it was not measured, as in a rehearsal."""
    if rehearsal:
        steps = ()
    p50 = _p50(steps)
    rate, torch_ms, torch_rate = _best_rate(steps), _torch_p50(steps), _torch_rate(steps)
    return [
        _aim(f"p50 of one image, {FASTEST}, latency mode, in ms", p50, P50_MS, most=True),
        _aim(f"stream, batch 1, {FASTEST}, of the ceiling", _share(steps, CASCADE), OF_CEILING),
        _aim(f"ring, its best batch, {FASTEST}, of the ceiling", _share(steps, RING), OF_CEILING),
        _aim("best PyTorch p50 / our p50, batch 1", _over(torch_ms, p50), OVER_TORCH),
        _aim("our best images/s / PyTorch's best", _over(rate, torch_rate), OVER_TORCH),
    ]


def _aim(name: str, value: float | None, wanted: float, most: bool = False) -> dict[str, Any]:
    met = None if value is None else value <= wanted if most else value >= wanted
    return {"aim": name, "value": value, "wanted": wanted, "at_most": most, "met": met}


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _p50(steps: Steps) -> float | None:
    """Return our median of one image where the masks hold."""
    rows = [
        row["ms"]["median_ms"]
        for row in rows_of(steps, "latency")
        if row["mode"] == "latency" and row["precision"] == FASTEST and row["parity"]["held"]
    ]
    return rows[0] if rows else None


def _rates(steps: Steps) -> list[Mapping[str, Any]]:
    """Return the throughput rows of the fastest precision whose masks hold."""
    return [
        row
        for step in of_kind(steps, "throughput")
        if step["results"].get("parity", {}).get("held")
        for row in step["results"].get("rows", [])
        if row["precision"] == FASTEST
    ]


def _best_rate(steps: Steps) -> float | None:
    return max((row["images_per_second"][CASCADE] for row in _rates(steps)), default=None)


def _share(steps: Steps, side: str) -> float | None:
    """Return a side's share of the ceiling: of batch 1 for the cascade, else the best."""
    found = {
        row["batch"]: float(row["of_ceiling"][side]["median"])
        for row in _rates(steps)
        if side in row.get("of_ceiling", {})
    }
    return found.get(1) if side == CASCADE else max(found.values(), default=None)


def _torch_p50(steps: Steps) -> float | None:
    found = [step["results"] for step in of_kind(steps, "torch") if "ms" in step["results"]]
    return min((item["ms"]["median_ms"] for item in found), default=None)


def _torch_rate(steps: Steps) -> float | None:
    rows = rows_of(steps, "torch")
    return max((row["images_per_second"]["torch"] for row in rows), default=None)
