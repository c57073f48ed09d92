"""The parts that the HTML pages share: template, tiles, lists, pictures, grades."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.measure.pictures import data_uri
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.page.template import filled, page_part


def write_page(path: Path, template: str, values: Mapping[str, str]) -> None:
    """Write a page from ``page/<template>``; ``values`` are HTML, put in place of ``{{name}}``.

    ``{{style}}`` is the style sheet that the pages share.
    """
    text = (files("foveate.benchmarks") / "page" / template).read_text(encoding="utf-8")
    page = filled(text, {"style": page_part("style.css"), **values})
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def fact_tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Return tiles of (name, value, note); all three are text."""
    return "".join(
        f'<div class="fact"><b>{html.escape(value)}</b><span>{html.escape(name)}</span>'
        f"<small>{html.escape(note)}</small></div>"
        for name, value, note in facts
    )


def definitions(items: Mapping[str, str]) -> str:
    """Return a list of terms and what they mean; both are text."""
    rows = "".join(
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in items.items()
    )
    return f"<dl>{rows}</dl>"


def card(title: str, style: str, facts: Iterable[str], pictures: str) -> str:
    """Return one image of a page: a graded title, facts as text, and its row of pictures."""
    shown = "".join(f"<span>{html.escape(fact)}</span>" for fact in facts)
    return (
        f'<section class="card"><header><b class="{style}">{html.escape(title)}</b>{shown}'
        f"</header>{pictures}</section>"
    )


def picture_row(pictures: Iterable[tuple[str, npt.NDArray[np.uint8]]]) -> str:
    """Return a row of (caption, BGR picture)."""
    figures = "".join(_figure(data_uri(picture), name) for name, picture in pictures)
    return f'<div class="row">{figures}</div>'


def plot(png: bytes, caption: str) -> str:
    """Return a PNG with its caption."""
    return _figure(f"data:image/png;base64,{base64.b64encode(png).decode()}", caption)


def _figure(source: str, caption: str) -> str:
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def grade(dice: float) -> str:
    """Return the style of a Dice: good from 0.9, fair from 0.7, else poor."""
    return "good" if dice >= 0.9 else "fair" if dice >= 0.7 else "poor"
