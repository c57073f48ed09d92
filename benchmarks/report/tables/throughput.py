"""The tables of a throughput result: the grid, the ceilings of a GPU, files, and the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report.table import Cell, Table, number_columns, text_columns, with_spread
from foveate.benchmarks.report.tables.parity import mark, parity_tables
from foveate.benchmarks.schema import units
from foveate.benchmarks.schema.result_files import FILE_STAGES, listed

Row = Mapping[str, Any]
FILES = "Files in, files out"


def throughput_tables(results: Mapping[str, Any], parity: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a throughput result."""
    return [
        _grid(results["grid"], parity),
        *_ceilings(listed(results.get("ceilings")), parity),
        *(_files(item, parity) for item in listed(results.get("files"))),
        *map(_roofline, listed(results.get("roofline"))),
        *parity_tables(results, parity),
    ]


def _grid(rows: Sequence[Row], parity: Mapping[str, Any]) -> Table:
    columns = (
        *text_columns("variant", "parity"), *number_columns("batch", "workers", "threads"),
        *number_columns("images/s", "baseline", "of the baseline's"),
    )  # fmt: skip
    best = max((row["images_per_second"] for row in rows), default=0.0)
    cells = []
    for row in rows:
        rate = row["images_per_second"]
        cells.append([
            row["variant"], mark(parity, row["variant"]),
            *(str(row[name]) for name in ("batch", "workers", "threads")),
            Cell(units.figure(rate), "ours" if rate == best else ""),
            units.figure(row["raw_images_per_second"]), with_spread(row["share"]),
        ])  # fmt: skip
    return Table("Throughput, arrays in, masks out", columns, cells)


def _ceilings(rows: Sequence[Row], parity: Mapping[str, Any]) -> list[Table]:
    """Return what the cascade reaches of what its plan and the GPU allow; nothing for none."""
    if not rows:
        return []
    columns = (
        *text_columns("variant", "parity"), *number_columns("batch", "images/s", "with copies"),
        *number_columns("of that ceiling", "one stream", "all streams"),
    )  # fmt: skip
    cells = []
    for row in rows:
        rate = row["images_per_second"]
        cells.append([
            row["variant"], mark(parity, row["variant"]), str(row["batch"]),
            units.figure(rate["cascade"]), units.figure(rate["with_transfers"]),
            with_spread(row["of_ceiling"]), units.figure(rate["enqueue_one_stream"]),
            units.figure(rate["enqueue_all_streams"]),
        ])  # fmt: skip
    words = (
        f"{units.size(rows[0])}. With copies: page-locked memory to the GPU, execution and back, "
        f"on {rows[0]['lanes']} streams, with nothing of the cascade around it. One stream, all "
        "streams: execution without copies."
    )
    return [Table("Ceilings of the GPU, images/s", columns, cells, [words])]


def _files(files: Row, parity: Mapping[str, Any]) -> Table:
    columns = (
        *text_columns("stage"), *number_columns("core-ms an image", "of all", "images/s alone"),
    )  # fmt: skip
    stages = {name: files["stages"][name] for name in FILE_STAGES}
    total = sum(stage["core_ms"] for stage in stages.values())
    cells = [
        [
            name, units.figure(stage["core_ms"]),
            units.percent(stage["core_ms"] / total) if total else "-",
            units.figure(stage["images_per_second"]),
        ]
        for name, stage in stages.items()
    ]  # fmt: skip
    state = mark(parity, files["variant"])
    words = (
        f"{units.figure(files['images_per_second'])} of at most "
        f"{units.figure(files['ceiling_images_per_second'])} images/s "
        f"({units.percent(files['share']['median'])}): {files['variant']}, batch {files['batch']}, "
        f"{units.count(files['images'], 'file')} of {units.size(files)}. Bottleneck: "
        f"{files['bottleneck']}, {units.percent(files['bottleneck_share'])} of the core time."
    )
    return Table(FILES, columns, cells, [words, Cell(f"Parity {state.text}.", state.style)])


def _roofline(roofline: Row) -> Table:
    columns = (
        *text_columns("part"), *number_columns("GFLOP", "MB moved"),
        *number_columns("floor", unit="ms"),
    )  # fmt: skip
    cells = [
        [item["part"], *(units.figure(item[name]) for name in ("gflop", "mbyte", "floor_ms"))]
        for item in roofline["parts"]
    ]
    words = (
        f"At {units.size(roofline)} this machine cannot be faster than "
        f"{units.figure(roofline['floor_ms'])} ms; measured "
        f"{units.figure(roofline['measured_ms'])} ms, {units.percent(roofline['share'])} of what "
        f"its measured peaks allow: {units.figure(roofline['peak_gflops'])} GFLOP/s and "
        f"{units.figure(roofline['copy_gb_s'])} GB/s."
    )
    return Table("Roofline", columns, cells, [words])
