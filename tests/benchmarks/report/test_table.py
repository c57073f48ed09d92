"""One table, three renderings: terminal, page and README."""

from __future__ import annotations

from foveate.benchmarks.report.table import Cell, Column, Table, number_columns, text_columns

TABLE = Table(
    "Speed",
    (*text_columns("method"), Column("time", "ms"), *number_columns("Dice")),
    [[Cell("a | b", "ours"), "7", "0.9"], ["<c>", "1234", Cell("-", "poor")]],
    ["Measured *here*."],
)


def test_the_terminal_aligns_text_left_and_numbers_right() -> None:
    assert TABLE.as_text().splitlines() == [
        "Speed",
        "method  time, ms  Dice",
        "a | b          7   0.9",
        "<c>         1234     -",
        "Measured *here*.",
    ]


def test_a_last_column_of_long_text_is_wrapped_under_itself() -> None:
    table = Table("Not measured", text_columns("what", "why"), [["tensorrt fp16", "word " * 40]])
    title, head, first, *more = table.as_text().splitlines()
    assert first.startswith("tensorrt fp16  word word") and more
    assert all(line.startswith(" " * 15 + "word") for line in more)
    assert max(map(len, [first, *more])) <= 110


def test_the_page_has_every_cell_with_its_style_and_as_text() -> None:
    page = TABLE.as_html()
    assert page.startswith("<h3>Speed</h3>") and page.endswith("<p>Measured *here*.</p>")
    assert '<th class="text">method</th><th>time, ms</th>' in page
    assert '<td class="text ours">a | b</td><td>7</td>' in page
    assert '<td class="text">&lt;c&gt;</td><td>1234</td><td class="poor">-</td>' in page


def test_markdown_is_escaped_and_ours_is_bold() -> None:
    assert TABLE.select("Dice", "method").as_markdown().splitlines() == [
        "| Dice | method |",
        "| ---: | --- |",
        r"| 0.9 | **a \| b** |",
        "| - | &lt;c&gt; |",
        "",
        r"Measured \*here\*.",
    ]
