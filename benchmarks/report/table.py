"""A table of results: one object, rendered for the terminal, for a page and for a README."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveate.benchmarks.schema import units
from foveate.runtime.errors import one_line

TERMINAL_COLUMNS = 110
GAP = "  "


@dataclass(frozen=True)
class Cell:
    """Text in a style of the page: good, fair, poor or ours; no style means plain."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """The heading of a column, the unit of its figures, and whether it is text (to the left)."""

    name: str
    unit: str = ""
    is_text: bool = False

    @property
    def heading(self) -> str:
        return f"{self.name}, {self.unit}" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """Rows of text under a title. ``notes`` are sentences beneath; they may have a style."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str | Cell]]
    notes: Sequence[str | Cell] = ()

    def select(self, *names: str) -> Table:
        """Return the table with the columns of these names only, in this order."""
        known = [column.name for column in self.columns]
        places = [known.index(name) for name in names]
        rows = [[row[place] for place in places] for row in self.rows]
        return replace(self, columns=tuple(self.columns[place] for place in places), rows=rows)

    def as_text(self) -> str:
        """Return lines of aligned columns; a last column of long text is wrapped."""
        lines = [self.title]
        if self.rows:
            cells = [[column.heading for column in self.columns]]
            cells += [[_plain(cell) for cell in row] for row in self.rows]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines += [line for row in cells for line in self._row_lines(row, widths)]
        lines += [line for note in self.notes for line in textwrap.wrap(_plain(note), 100)]
        return "\n".join(lines)

    def _row_lines(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        room = max(30, TERMINAL_COLUMNS - sum(widths[:-1]) - len(GAP) * (len(row) - 1))
        first, *more = [row[-1]]
        if self.columns[-1].is_text:
            first, *more = textwrap.wrap(row[-1], room) or [""]
        aligned = [
            text.ljust(width) if column.is_text else text.rjust(width)
            for text, width, column in zip([*row[:-1], first], widths, self.columns, strict=True)
        ]
        indent = " " * (sum(widths[:-1]) + len(GAP) * (len(row) - 1))
        return [GAP.join(aligned).rstrip(), *(indent + line for line in more)]

    def as_html(self, level: int = 3) -> str:
        """Return heading, table and notes; the table scrolls on its own where it is too wide."""
        parts = [f"<h{level}>{html.escape(self.title)}</h{level}>" if self.title else ""]
        if self.rows:
            head = "".join(
                f"<th{_class(column)}>{html.escape(column.heading)}</th>" for column in self.columns
            )
            body = "".join(f"<tr>{self._html_row(row)}</tr>" for row in self.rows)
            parts.append(f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>')
        for note in self.notes:
            style = f' class="{note.style}"' if isinstance(note, Cell) and note.style else ""
            parts.append(f"<p{style}>{html.escape(_plain(note))}</p>")
        return "".join(parts)

    def _html_row(self, row: Sequence[str | Cell]) -> str:
        return "".join(
            f"<td{_class(column, cell)}>{html.escape(_plain(cell))}</td>"
            for column, cell in zip(self.columns, row, strict=True)
        )

    def as_markdown(self) -> str:
        """Return table and notes without the title; what is ours is bold."""
        rows = [
            [column.heading for column in self.columns],
            ["---" if column.is_text else "---:" for column in self.columns],
            *([_markdown(cell) for cell in row] for row in self.rows),
        ]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([*lines, *(f"\n{_markdown(note)}" for note in self.notes)])


def with_spread(ratio: Mapping[str, Any]) -> str:
    """Return the median of a Ratio with its 10th to 90th percentile in brackets."""
    return f"{units.ratio(ratio)} ({units.spread(ratio)})"


def text_columns(*names: str) -> tuple[Column, ...]:
    """Return columns of text."""
    return tuple(Column(name, is_text=True) for name in names)


def number_columns(*names: str, unit: str = "") -> tuple[Column, ...]:
    """Return columns of numbers that share a unit."""
    return tuple(Column(name, unit) for name in names)


def _plain(cell: str | Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _class(column: Column, cell: str | Cell = "") -> str:
    styles = ["text"] if column.is_text else []
    styles += [cell.style] if isinstance(cell, Cell) and cell.style else []
    return f' class="{" ".join(styles)}"' if styles else ""


def _markdown(cell: str | Cell) -> str:
    """Return a text that Markdown takes as text, on one line."""
    escaped = html.escape(one_line(_plain(cell)), quote=False)
    text = "".join(f"\\{letter}" if letter in "|*`[]\\" else letter for letter in escaped)
    return f"**{text}**" if isinstance(cell, Cell) and cell.style == "ours" else text
