"""The tables of the GPU check's page: what each kind of step found, as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foveate.benchmarks import units
from foveate.benchmarks.gpu.bench import ENQUEUE, ENQUEUE_ALL, RING, TRANSFERS
from foveate.benchmarks.gpu.throughput_step import CASCADE
from foveate.benchmarks.gpu.verdicts import Steps, of_kind, rows_of
from foveate.benchmarks.pages import Cell

Row = list[str | Cell]
Section = tuple[str, str, Sequence[str], list[Row]]
"""Title, note, head and rows."""
STAGES = ("h2d_ms", "execute_ms", "d2h_ms")


def sections(steps: Steps) -> Iterator[Section]:
    """Yield every table of the page; one without rows was not measured."""
    yield _latency(steps)
    yield _throughput(steps)
    yield _stages(steps)
    yield _torch(steps)
    yield _parity(steps)
    yield _builds(steps)
    yield _smoke(steps)
    yield _tests(steps)


def refusals(steps: Steps) -> list[str]:
    """Return what TensorRT said of plans that this GPU did not run, uncut."""
    found = []
    for step in of_kind(steps, "smoke"):
        for attempt in step["results"].get("attempts", []):
            if attempt["error"]:
                targets = ", ".join(attempt["targets"]) or "its default targets"
                found.append(f"{step['name']}, built for {targets}: {attempt['error']}")
                found += attempt["said"]
    return found


def held(parity: Mapping[str, Any] | None) -> list[str | Cell]:
    """Return the mark and the disagreement that stand beside a speed."""
    if parity is None:
        return [Cell("NOT MEASURED", "poor"), "-"]
    mark = Cell("held", "good") if parity["held"] else Cell("NOT HELD", "poor")
    return [mark, units.disagreement(parity["disagreement"])]


def _ms(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{values[name]:.3f}" for name in names]


def _rates(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [units.figure(values[name]) if name in values else "-" for name in names]


def _latency(steps: Steps) -> Section:
    head = (
        "engine", "precision", "mode", "parity", "disagreement", "runs", "p50 ms", "p95", "p99",
        "max", "copy in ms", "execute", "copy out",
    )  # fmt: skip
    rows: list[Row] = [
        [
            row["engine"], row["precision"], row["mode"], *held(row["parity"]),
            str(row["ms"]["n"]), *_ms(row["ms"], ("median_ms", "p95_ms", "p99_ms", "max_ms")),
            *_ms(row["stages"], STAGES),
        ]
        for row in rows_of(steps, "latency")
    ]  # fmt: skip
    note = "One 1024x1024 image, host array in, host mask out. Stages are medians from events."
    return "Latency", note, head, rows


def _throughput(steps: Steps) -> Section:
    head = (
        "engine", "precision", "batch", "parity", "disagreement", "cascade images/s", "ring",
        "ceiling", "cascade / it", "ring / it", "enqueue, 1 stream", "all streams",
    )  # fmt: skip
    rows: list[Row] = []
    for step in of_kind(steps, "throughput"):
        for row in step["results"].get("rows", []):
            rate, share = row["images_per_second"], row.get("of_ceiling", {})
            ours, bare = (CASCADE, RING, TRANSFERS), (ENQUEUE, ENQUEUE_ALL)
            shares = [f"{share[n]['median']:.3f}" if n in share else "-" for n in (CASCADE, RING)]
            first = [row["engine"], row["precision"], str(row["batch"])]
            first += held(step["results"].get("parity"))
            rows.append([*first, *_rates(rate, ours), *shares, *_rates(rate, bare)])
    note = (
        "1024x1024. Cascade: the public stream (batch 1) or batch call. Ring: our slots alone. "
        "Ceiling: with transfers, pinned host, device, execution, pinned host, on as many streams, "
        "nothing of the cascade around. Enqueue: the input lies on the device."
    )
    return "Throughput and ceilings", note, head, rows


def _stages(steps: Steps) -> Section:
    head = ("precision", "batch", "side", "copy in ms", "execute", "copy out", "runs", "differing")
    rows: list[Row] = []
    for row in rows_of(steps, "throughput"):
        for side, name in ((CASCADE, "stages"), (RING, "ring_stages")):
            if name in row:
                pixels = row.get("differing_pixels", {}).get(side)
                rows.append(
                    [
                        row["precision"], str(row["batch"]), side, *_ms(row[name], STAGES),
                        str(row[name]["runs"]), "-" if pixels is None else f"{pixels} px",
                    ]
                )  # fmt: skip
    note = "Medians from events, a run's batch at a time; differing: pixels unlike the cascade's."
    return "Stage times by batch", note, head, rows


def _torch(steps: Steps) -> Section:
    head = ("way", "parity", "disagreement", "p50 ms", "p95", "p99", "images/s by batch")
    rows: list[Row] = []
    for step in of_kind(steps, "torch"):
        found = step["results"]
        if "ms" not in found:
            rows.append([step["name"], *["-"] * 5, step["reason"][:120]])
            continue
        rates = ", ".join(
            f"{row['batch']}: {units.figure(row['images_per_second']['torch'])}"
            for row in found.get("rows", [])
        )
        times = _ms(found["ms"], ("median_ms", "p95_ms", "p99_ms"))
        rows.append([found["how"], *held(found["parity"]), *times, rates])
    return "PyTorch, same weights and images", "Host array in, host mask out.", head, rows


def _parity(steps: Steps) -> Section:
    head = (
        "engine and set", "precision", "images", "parity", "disagreement", "at most", "Dice",
        "change", "at most", "empty on one side", "moved boxes", "worst image", "its disagreement",
    )  # fmt: skip
    rows: list[Row] = []
    for step in of_kind(steps, "parity"):
        name = step["name"].removeprefix("parity ")
        for precision, row in step["results"].get("parity", {}).items():
            rows.append(
                [
                    name, precision, str(row["images"]), *held(row),
                    f"{row['disagreement_bound']:g}", units.dice(row["dice"]),
                    "-" if row["dice_change"] is None else f"{row['dice_change']:+.5f}",
                    f"{row['dice_change_bound']:g}", str(len(row["emptiness_flips"])),
                    str(len(row["moved_boxes"])), str(row["worst_image"] or "-"),
                    units.disagreement(row["worst_disagreement"]),
                ]
            )  # fmt: skip
        for precision, reason in step["results"].get("refused", {}).items():
            rows.append([name, precision, "0", Cell("refused", "poor"), reason[:120], *["-"] * 8])
    return "Parity", "Against PyTorch fp32 masks computed on a CPU and carried along.", head, rows


def _builds(steps: Steps) -> Section:
    head = ("set", "precision", "batch", "height", "width", "build s", "MB")
    rows: list[Row] = [
        [
            step["arguments"]["set"], row["precision"],
            *(f"{row[name][0]} to {row[name][-1]}" for name in ("batch", "height", "width")),
            f"{row['seconds']:.1f}", f"{row['mb']:.1f}",
        ]
        for step in of_kind(steps, "build")
        for row in step["results"].get("plans", [])
    ]  # fmt: skip
    return "Plans", "", head, rows


def _smoke(steps: Steps) -> Section:
    head = ("engine", "came to", "GPU", "targets", "disagreement with the CPU")
    rows: list[Row] = []
    for step in of_kind(steps, "smoke"):
        found = step["results"]
        share = found.get("disagreement")
        rows.append(
            [
                str(found.get("toolkit", step["arguments"]["engine"])), step["status"],
                f"{found.get('gpu', '-')} {found.get('sm', '')}",
                ", ".join(found.get("targets", [])) or "default",
                "-" if share is None else units.disagreement(share),
            ]
        )  # fmt: skip
    return "Smoke: the demo bundle, one image", "", head, rows


def _tests(steps: Steps) -> Section:
    rows: list[Row] = []
    for step in of_kind(steps, "pytest"):
        found = step["results"]
        failures, skipped = found.get("failures", []), found.get("skipped", [])
        count = found.get("tests", 0)
        rows.append(["all", f"{count} tests, {len(failures)} failed, {len(skipped)} skipped"])
        rows += [[item["name"], item["message"]] for item in (*failures, *skipped)]
    return "pytest -m gpu", "", ("test", "came to"), rows
