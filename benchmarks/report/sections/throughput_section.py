"""Throughput in the report: the grid, files against their ceiling, and the roofline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report import pages, plots
from foveate.benchmarks.report.album import Album
from foveate.benchmarks.report.model_results import ResultFile
from foveate.benchmarks.report.pages import Cell
from foveate.benchmarks.report.sections.parity_section import mark, parity_table, skipped
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_shapes import FILE_STAGES, listed

Row = Mapping[str, Any]


def throughput_section(file: ResultFile, album: Album) -> str:
    """Return a throughput result as HTML."""
    results, parity = file.result["results"], file.parity
    files = "".join(_files(item, parity, album) for item in listed(results.get("files")))
    roofline = "".join(map(_roofline, listed(results.get("roofline"))))
    return (
        f"<h3>Throughput, arrays in, masks out</h3>{_grid(results['grid'], parity)}"
        f"<h4>Parity</h4>{parity_table(parity)}{_ceilings(listed(results.get('ceilings')), parity)}"
        f"{files}{roofline}{skipped(results)}"
    )


def _grid(rows: Sequence[Row], parity: Mapping[str, Any]) -> str:
    head = (
        "variant", "parity", "batch", "workers", "threads", "images/s", "bare engine", "share",
        "10% to 90%",
    )  # fmt: skip
    best = max((row["images_per_second"] for row in rows), default=0.0)
    cells: list[list[str | Cell]] = []
    for row in rows:
        rate = units.figure(row["images_per_second"])
        cells.append([
            row["variant"], mark(parity, row["variant"]), str(row["batch"]), str(row["workers"]),
            str(row["threads"]), Cell(rate, "ours") if row["images_per_second"] == best else rate,
            units.figure(row["raw_images_per_second"]), units.ratio(row["share"]),
            units.spread(row["share"]),
        ])  # fmt: skip
    return pages.table(head, cells)


def _ceilings(rows: Sequence[Row], parity: Mapping[str, Any]) -> str:
    """Return what the cascade reaches of what its plan and the GPU allow; nothing for none."""
    if not rows:
        return ""
    head = (
        "variant", "parity", "batch", "images/s", "ceiling with copies", "share", "10% to 90%",
        "without copies, one stream", "all streams",
    )  # fmt: skip
    cells: list[list[str | Cell]] = []
    for row in rows:
        rate, share = row["images_per_second"], row["of_ceiling"]
        cells.append([
            row["variant"], mark(parity, row["variant"]), str(row["batch"]),
            units.figure(rate["cascade"]), units.figure(rate["with_transfers"]),
            units.ratio(share), units.spread(share), units.figure(rate["enqueue_one_stream"]),
            units.figure(rate["enqueue_all_streams"]),
        ])  # fmt: skip
    words = (
        f"{units.size(rows[0])}. Ceiling: page-locked memory to the GPU, execution and back, on "
        f"{rows[0]['lanes']} streams, with nothing of the cascade around it."
    )
    table = pages.table(head, cells)
    return f"<h3>Ceilings of the GPU</h3><p>{html.escape(words)}</p>{table}"


def _files(files: Row, parity: Mapping[str, Any], album: Album) -> str:
    state = mark(parity, files["variant"])
    words = (
        f"{units.figure(files['images_per_second'])} of at most "
        f"{units.figure(files['ceiling_images_per_second'])} images/s "
        f"({units.percent(files['share']['median'])}): {files['variant']}, batch {files['batch']}, "
        f"{units.count(files['images'], 'file')} of {units.size(files)}. Bottleneck: "
        f"{files['bottleneck']}, {units.percent(files['bottleneck_share'])} of the core time. "
        "Parity: "
    )
    total = sum(files["stages"][name]["core_ms"] for name in FILE_STAGES)
    rows = []
    for name in FILE_STAGES:
        stage = files["stages"][name]
        share = units.percent(stage["core_ms"] / total) if total else "-"
        cells = [units.figure(stage["core_ms"]), share, units.figure(stage["images_per_second"])]
        rows.append([name, *cells])
    table = pages.table(("stage", "core-ms an image", "of all", "images/s alone"), rows)
    caption = "What each stage could do alone; the slowest holds the others back."
    return (
        f"<h3>Files in, files out</h3><p>{html.escape(words)}"
        f'<span class="{state.style}">{state.text}</span>.</p>{table}'
        f'<div class="plots">{album.figure("files", plots.file_stages(files), caption)}</div>'
    )


def _roofline(roofline: Row) -> str:
    rows = [
        [item["part"], *(units.figure(item[name]) for name in ("gflop", "mbyte", "floor_ms"))]
        for item in roofline["parts"]
    ]
    table = pages.table(("part", "GFLOP", "MB moved", "floor ms"), rows)
    words = (
        f"At {units.size(roofline)} this machine cannot be faster than "
        f"{units.figure(roofline['floor_ms'])} ms; measured "
        f"{units.figure(roofline['measured_ms'])} ms, {units.percent(roofline['share'])} of what "
        f"its measured peaks allow: {units.figure(roofline['peak_gflops'])} GFLOP/s and "
        f"{units.figure(roofline['copy_gb_s'])} GB/s."
    )
    return f"<h3>Roofline</h3><p>{html.escape(words)}</p>{table}"
