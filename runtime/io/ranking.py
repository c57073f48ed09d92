"""Order the images of a run by doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.objects.table import csv_field

TABLE = "ranking{part}.csv"
"""The order in OUT of all images, or of those of a shard."""
PARTS = ("stages", "uncertainty", "flip", "missing_score")
COLUMNS = ("rank", "image", "page", "doubt", *PARTS, "score", "mask")
FIRST = 3
"""Images that the summary names."""


def write_ranking(out: Path, lines: Iterable[Mapping[str, Any]], part: str = "") -> dict[str, Any]:
    """Write ``ranking.csv`` into ``out``, the most doubtful image first; return it in short.

    ``lines`` are those of the journal, with their doubt; ties are in the order of image and page.
    ``part`` of a shard is in the name. Returned are ``file`` and the ``first`` few images.
    """
    images = {(line["input"], line["page"]): line for line in lines}
    ranked = sorted(images.values(), key=lambda it: (-it["doubt"], it["input"], it["page"]))
    rows = [",".join(COLUMNS)]
    for rank, line in enumerate(ranked, 1):
        parts = [str(line["doubt_parts"].get(name, "")) for name in PARTS]
        page, doubt, score = (str(line[name]) for name in ("page", "doubt", "score"))
        image, mask = csv_field(line["input"]), csv_field(line["mask"])
        rows.append(",".join((str(rank), image, page, doubt, *parts, score, mask)))
    file = TABLE.format(part=part)
    text = "\n".join(rows) + "\n"
    write_atomically(out / file, text.encode(errors="backslashreplace"))
    shown = ("input", "page", "doubt")
    return {
        "file": file,
        "first": [{name: line[name] for name in shown} for line in ranked[:FIRST]],
    }
