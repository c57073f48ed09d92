"""The parts that the HTML pages share: template, tiles, tables, rows of pictures, grades."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.measure.pictures import data_uri
from foveate.runtime.atomic_files import write_atomically


def write_page(path: Path, template: str, values: Mapping[str, str]) -> None:
    """Write a page from ``page/<template>``; ``values`` are HTML, put in place of ``{{name}}``.

    ``{{style}}`` is the style sheet that the pages share.
    The values themselves are not searched, so text in them that looks like a place stays text.
    """
    folder = files("foveate.benchmarks") / "page"
    page, style = ((folder / name).read_text(encoding="utf-8") for name in (template, "style.css"))
    parts = {"style": style, **values}
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], page)
    write_atomically(path, lambda file: file.write(page.encode("utf-8", "backslashreplace")))


def fact_tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Return tiles of (name, value, note); all three are text."""
    return "".join(
        f'<div class="fact"><b>{html.escape(value)}</b><span>{html.escape(name)}</span>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in facts
    )


@dataclass(frozen=True)
class Cell:
    """Text of a table in a style of the page: good, fair, poor."""

    text: str
    style: str


def table(head: Sequence[str], rows: Sequence[Sequence[str | Cell]], style: str = "") -> str:
    """Return a table of text that scrolls on its own where the page is narrow."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="wide {style}"><table><tr>{top}</tr>{body}</table></div>'


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{html.escape(cell)}</td>"
    return f'<td class="{cell.style}">{html.escape(cell.text)}</td>'


def picture_row(pictures: Iterable[tuple[str, npt.NDArray[np.uint8]]]) -> str:
    """Return a row of (caption, BGR picture)."""
    figures = "".join(
        f'<figure><img alt="{html.escape(name)}" src="{data_uri(picture)}">'
        f"<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, picture in pictures
    )
    return f'<div class="row">{figures}</div>'


def grade(dice: float) -> str:
    """Return the style of a Dice: good from 0.9, fair from 0.7, else poor."""
    return "good" if dice >= 0.9 else "fair" if dice >= 0.7 else "poor"
