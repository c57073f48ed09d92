"""A result as text for the terminal: the figures, what they mean, and what to be careful with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GLOSSARY = {
    "parity": "Disagreement: |A xor B| / |A or B| of the foreground, pooled over the images.",
    "latency": (
        "call: array in, mask out. raw: the bare engine on the same input. whole: file in, file "
        "out,\nof which decode, h2d (images to engine input), execute, d2h (outputs to checked "
        "results),\nencode. cv: standard deviation / mean. Times in milliseconds."
    ),
    "throughput": (
        "raw: the bare engine with the same workers and batch. Ceiling: cores / core-seconds of "
        "decode,\nengine and encode, each measured alone. Roofline: the least time the machine's "
        "measured peaks allow."
    ),
    "compare": (
        "ratio: time over foveate's in the same round; above 1 is slower than foveate. In brackets "
        "the\n10th and 90th percentile of the rounds. Dice where there is truth; alarms: classes "
        "found where\nthere is no truth; disagr.: disagreement with PyTorch fp32. All of the masks "
        "timed."
    ),
}
_TIMES = ("min", "median", "mean", "p90", "p95", "p99", "max")


def result_text(result: Mapping[str, Any]) -> str:
    """Return what the terminal shows of a result: at most 110 columns, the parts apart."""
    kind, results = result["kind"], result["results"]
    machine, data = result["machine"], result["data"]
    head = (
        f"{result['model']['name']} on {data['name']}, {data['images']} images; {machine['cpu']}, "
        f"{machine['cores']} cores" + "".join(f", {gpu['name']}" for gpu in machine["gpus"])
    )
    parts = [
        [head],
        list(_KINDS[kind](results)),
        list(_parity(result["parity"])) if kind != "parity" else [],
        [f"skipped {name}: {reason}" for name, reason in results.get("skipped", {}).items()],
        [GLOSSARY[kind]],
        [f"Warning: {text}" for text in result["warnings"]],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Yield lines of aligned columns, the first ``left`` of them to the left."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    for row in [head, *rows]:
        cells = (
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def figure(value: float | None, digits: int = 4) -> str:
    """Return a figure with so many digits after the point; - where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _parity(rows: Mapping[str, Any]) -> Iterator[str]:
    head = ["parity", "disagreement", "bound", "Dice", "change", "empty", "moved", "held"]
    shown = [
        [
            name,
            f"{row['disagreement']:.6f}",
            f"{row['disagreement_bound']:g}",
            figure(row["dice"]),
            "-" if row["dice_change"] is None else f"{row['dice_change']:+.5f}",
            str(len(row["emptiness_flips"])),
            str(len(row["moved_boxes"])),
            "yes" if row["held"] else "NO",
        ]
        for name, row in rows.items()
    ]
    yield from table(head, shown)
    for name, row in rows.items():
        yield f"{name} against {row['reference']}, {row['images']} images" + (
            f"; worst {row['worst_image']}: {row['worst_disagreement']:.5f}"
            if row["worst_image"]
            else ""
        )


def _parity_result(results: Mapping[str, Any]) -> Iterator[str]:
    yield from _parity(results["variants"])


def _latency(results: Mapping[str, Any]) -> Iterator[str]:
    head = ["", "batch", "size", *_TIMES, "cv"]
    shown = []
    for row in results["rows"]:
        for name in ("call", "raw", "whole"):
            times = row[name]
            shown.append(
                [
                    f"{row['variant']} {name}",
                    str(row["batch"]),
                    f"{row['width']}x{row['height']}",
                    *(f"{times[f'{key}_ms']:.1f}" for key in _TIMES),
                    f"{times['cv']:.1%}",
                ]
            )
    yield from table(head, shown)
    for row in results["rows"]:
        yield ""
        yield _stages(row)
    for start in results["cold_start"]:
        yield ""
        yield (
            f"{start['variant']}, first mask of a fresh process: {start['whole_ms']:.0f} ms "
            f"(Python {start['python_ms']:.0f}, import {start['import_ms']:.0f}, load "
            f"{start['load_ms']:.0f}, first mask {start['first_mask_ms']:.0f}); memory "
            f"{figure(start['load_mb'], 0)} MB loaded, {figure(start['peak_mb'], 0)} MB at most"
        )
    for load in results["offered_load"]:
        response, service = load["response"], load["service"]
        yield (
            f"{load['variant']} at {load['rate']:g} requests/s: response median "
            f"{response['median_ms']:.1f}, p99 {response['p99_ms']:.1f}; service median "
            f"{service['median_ms']:.1f}; busy {load['utilisation']:.0%}, at most "
            f"{load['queue_max']} waiting"
        )


def _stages(row: Mapping[str, Any]) -> str:
    medians = {stage: times["median_ms"] for stage, times in row["stages"].items()}
    listed = ", ".join(f"{stage} {value:.2f}" for stage, value in medians.items())
    own, over = row["own"], row["overhead"]
    return (
        f"{row['variant']}, batch {row['batch']}, {row['width']}x{row['height']}: {listed}; sum "
        f"{sum(medians.values()):.1f} of {row['whole']['median_ms']:.1f} ms.\n"
        f"The runtime's own time is {own['median']:.2%} [{own['low']:.2%}, {own['high']:.2%}] of "
        f"the engine's. Call / bare engine, round by round:\n"
        f"{over['median']:.3f} [{over['low']:.3f}, {over['high']:.3f}]. {row['call']['n']} runs "
        f"after {row['warm_up']['runs']} to warm up"
    )


def _compare(results: Mapping[str, Any]) -> Iterator[str]:
    head = ["", "method", "median ms", "images/s", "ratio", "spread", "Dice", "alarms", "disagr."]
    shown = []
    batch = results.get("batch", 1)
    for item in results["methods"]:
        if item["here"]:
            median, over = item["ms"]["median_ms"], item["ratio"]
            shown.append(
                [
                    item["key"], item["name"], f"{median:.1f}", f"{1000 * batch / median:.1f}",
                    f"{over['median']:.2f}", f"[{over['low']:.2f}, {over['high']:.2f}]",
                    figure(item["dice"]), str(item["false_alarms"]),
                    f"{item['disagreement']:.5f}",
                ]
            )  # fmt: skip
    yield from table(head, shown, 2)
    for item in results["methods"]:
        if not item["here"]:
            yield f"not measured: {item['name']}: {item['reason']}"
    if batch > 1:
        yield f"{batch} images a call"
    yield ""
    rows = [
        [part["name"], f"{part['ms']['median_ms']:.1f}", f"{part['ratio']['median']:.2f}"]
        for part in results["parts"]
    ]
    yield from table(["parts", "median ms", "of foveate"], rows)
    yield ""
    counts = results["multiply_adds"].items()
    yield from table(
        ["multiply-adds, first image", "10^9"], [[n, f"{c / 1e9:.2f}"] for n, c in counts]
    )


def _throughput(results: Mapping[str, Any]) -> Iterator[str]:
    head = ["", "batch", "workers", "threads", "images/s", "raw", "share", "spread"]
    shown = []
    for row in results["grid"]:
        share = row["share"]
        shown.append(
            [
                row["variant"], str(row["batch"]), str(row["workers"]), str(row["threads"]),
                f"{row['images_per_second']:.1f}", f"{row['raw_images_per_second']:.1f}",
                f"{share['median']:.1%}", f"[{share['low']:.1%}, {share['high']:.1%}]",
            ]
        )  # fmt: skip
    yield from table(head, shown)
    if results.get("ceilings"):
        yield ""
        yield from _ceilings(results["ceilings"])
    if results["files"]:
        yield ""
        yield _files(results["files"])
    if results["roofline"]:
        yield ""
        yield from _roofline(results["roofline"])


def _ceilings(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head = ["ceilings", "batch", "images/s", "with copies", "share", "1 stream", "all streams"]
    shown = []
    for row in rows:
        rates, share = row["images_per_second"], row["of_ceiling"]
        shown.append(
            [
                row["variant"], str(row["batch"]), f"{rates['cascade']:.1f}",
                f"{rates['with_transfers']:.1f}", f"{share['median']:.1%}",
                f"{rates['enqueue_one_stream']:.1f}", f"{rates['enqueue_all_streams']:.1f}",
            ]
        )  # fmt: skip
    yield from table(head, shown)


def _files(files: Mapping[str, Any]) -> str:
    stages = ", ".join(f"{name} {stage['core_ms']:.1f}" for name, stage in files["stages"].items())
    return (
        f"With files: {files['images_per_second']:.1f} images/s of a ceiling of "
        f"{files['ceiling_images_per_second']:.1f} ({files['share']['median']:.0%}). "
        f"Core-milliseconds an image: {stages}.\n"
        f"Bottleneck: {files['bottleneck']} ({files['bottleneck_share']:.0%})"
    )


def _roofline(roofline: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [part["part"], f"{part['gflop']:.2f}", f"{part['mbyte']:.0f}", f"{part['floor_ms']:.2f}"]
        for part in roofline["parts"]
    ]
    yield from table(["roofline", "GFLOP", "MB moved", "floor ms"], rows)
    yield (
        f"Peaks measured here: {roofline['peak_gflops']:.0f} GFLOP/s, {roofline['copy_gb_s']:.1f} "
        f"GB/s. Floor {roofline['floor_ms']:.1f} ms, measured {roofline['measured_ms']:.1f} ms: "
        f"{roofline['share']:.0%} of what the machine allows"
    )


_KINDS = {
    "parity": _parity_result,
    "latency": _latency,
    "throughput": _throughput,
    "compare": _compare,
}
