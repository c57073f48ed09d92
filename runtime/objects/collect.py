"""Put the tables of all images together at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.objects.table import HEADER, csv_field

TABLE = "objects{part}.csv"
"""The table in OUT of all images, or of those of a shard."""
Line = Mapping[str, Any]


def assemble_objects(out: Path, lines: Iterable[Line], part: str = "") -> dict[str, dict[str, int]]:
    """Write ``objects.csv`` into ``out`` from the tables of the images; return the totals.

    ``lines`` are those of the journal; rows are sorted by image and page, so that the same images
    give the same file. ``part`` of a shard is in its name. The totals are, by class, ``count`` and
    ``area_px``. One image's table is held in memory at a time.
    """
    images = {(line["input"], line["page"]): line for line in lines}
    found = [line for _, line in sorted(images.items())]
    write_atomically(out / TABLE.format(part=part), lambda file: _assemble(file, out, found))
    counts: Counter[str] = Counter()
    areas: Counter[str] = Counter()
    for line in found:
        counts.update(line["objects"])
        areas.update(line["area"])
    return {name: {"count": counts[name], "area_px": areas[name]} for name in counts}


def _assemble(file: IO[bytes], out: Path, lines: Iterable[Line]) -> None:
    file.write(f"image,page,{HEADER}".encode())
    for line in lines:
        table = next(name for name in line["files"] if name.endswith(".csv"))
        rows = (out / table).read_bytes()[len(HEADER) :]
        prefix = f"{csv_field(line['input'])},{line['page']},".encode(errors="backslashreplace")
        if rows:
            file.write(prefix + rows[:-1].replace(b"\n", b"\n" + prefix) + b"\n")
