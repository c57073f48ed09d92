"""Write the page of a run: counts, histograms, failures, and all images to filter and sort."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.io.png import class_colour
from foveate.runtime.page.template import filled, page_part

PAGE = "index{part}.html"
"""The page in OUT of all images, or of those of a shard."""
SHOWN_FAILURES = 500
"""The page lists so many and counts all; they are in ``failures.jsonl``."""
_ROWS = "\0"
Line = Mapping[str, Any]


def write_run_page(
    out: Path,
    part: str,
    lines: Iterable[Line],
    failures: Iterable[Line],
    classes: Sequence[str],
    outputs: OutputSettings,
    about: str,
    left: int = 0,
) -> Path:
    """Write the page of a run into ``out``; return its path.

    ``lines`` and ``failures`` are those of the journal; of several lines of a mask the last one
    counts, and an image that has one has not failed. ``part`` of a shard is in the name.
    ``classes`` begin with the background; ``about`` says in words what made the masks; ``left``
    images were not reached. A line becomes some 80 bytes of the page, and of memory.
    """
    flags: dict[str, int] = {}
    rows: dict[str, str] = {}
    failed = {_key(line): line["reason"] for line in failures}
    for line in lines:
        rows[line["mask"]] = _row(line, classes, outputs, flags)
        failed.pop(_key(line), None)
    shown = sorted(failed.items())[:SHOWN_FAILURES]
    data = {
        "classes": [[name, _hex(label)] for label, name in enumerate(classes) if label],
        "flags": list(flags),
        "left": left,
        "failed": len(failed),
        "failures": [[*key, reason] for key, reason in shown],
        "failures_file": f"failures{part}.jsonl",
        "thumbnail": _around(outputs, -1),
        "full": _around(outputs, 1 if outputs.overlay else 0),
        "rows": [],
    }
    text = _compact(data).removesuffix("]}") + _ROWS + "]}"
    style, script = page_part("style.css") + page_part("run.css"), page_part("run.js")
    values = {
        "title": html.escape(out.resolve().name + part),
        "about": html.escape(about),
        "policy": f"style-src {_source(style)}; script-src {_source(script)}",
        "style": style,
        "script": script,
        "data": text,
    }
    head, tail = (
        filled(page_part("run.html"), values)
        .encode("utf-8", "backslashreplace")
        .split(_ROWS.encode())
    )
    ordered = (row for _, row in sorted(rows.items()))
    path = out / PAGE.format(part=part)

    def write(file: IO[bytes]) -> None:
        file.write(head)
        for number, row in enumerate(ordered):
            file.write((",\n" if number else "\n").encode() + row.encode())
        file.write(tail)

    write_atomically(path, write)
    return path


def _key(line: Line) -> tuple[str, int]:
    return line["input"], line.get("page", 0)


def _row(line: Line, classes: Sequence[str], outputs: OutputSettings, flags: dict[str, int]) -> str:
    """Return what the page needs of a line, as JSON; ``flags`` numbers the bits of flags."""
    before, after = _around(outputs, 0)
    bits = sum(1 << flags.setdefault(flag, len(flags)) for flag in line["flags"])
    row = [
        line["mask"].removeprefix(before).removesuffix(after),
        line["width"],
        line["height"],
        line["score"],
        line.get("doubt"),
        bits,
        [line["area"][name] for name in classes[1:]],
    ]
    if "objects" in line:
        row.append([line["objects"][name] for name in classes[1:]])
    return _compact(row)


def _around(outputs: OutputSettings, index: int) -> list[str]:
    """Return what stands before and after the name of an image in a file written for it."""
    return outputs.names("\0")[index].split("\0")


def _compact(values: Any) -> str:
    """Return JSON in ASCII that ends no element of HTML."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def _hex(label: int) -> str:
    return "#" + bytes(class_colour(label)).hex()


def _source(text: str) -> str:
    """Return the source of a content security policy that allows this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
