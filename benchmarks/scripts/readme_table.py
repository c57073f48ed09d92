"""The tables of README.md and docs/results.md, written from compare results.

``python -m foveate.benchmarks.scripts.readme_table [--short] PAGE.md FILE...`` replaces what stands
between the two marks of a page; ``--short`` keeps the rows that ``short`` selects.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foveate.benchmarks.compare.comparison import OURS
from foveate.benchmarks.report.model_results import ResultFile, read_file
from foveate.benchmarks.report.tables.compare import methods_table
from foveate.benchmarks.schema import units
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import DataError, FoveateError, one_line

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
USAGE = (
    "Usage: python -m foveate.benchmarks.scripts.readme_table [--short] PAGE.md FILE...\n"
    "--short keeps foveate, its fastest variant, the fastest other method and the single networks"
)
ONE_NETWORK = ("e", "f")
"""Keys of the single networks: at full size, at the size of stage 1."""


def readme_table(files: Sequence[ResultFile], *, short: bool = False) -> str:
    """Return a Markdown table of each compare result, with machine, date, version and file.

    DataError for a result of another kind, and for one that contradicts itself.
    """
    return "\n\n".join(_table(file, short) for file in files)


def _table(file: ResultFile, short: bool) -> str:
    if file.kind != "compare":
        raise DataError(
            f"{file.name}: a {file.kind} result; expected one of foveate benchmark compare"
        )
    if doubts := [*file.issues, *file.lost.values(), *file.inconclusive]:
        raise DataError(f"{file.name}: contradicts itself and is not published: {doubts[0]}")
    results = file.result["results"]
    methods = _selected(results["methods"]) if short else results["methods"]
    table = methods_table({**results, "methods": methods})
    table = table.select("method", "time", "ratio to foveate", "target Dice", "disagreement")
    missing = [
        f"Not measured: {item['name']}: {item['reason']}" for item in methods if not item["here"]
    ]
    return replace(table, notes=[_source(file), *missing]).as_markdown()


def _selected(methods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return foveate, its fastest variant, the fastest other method and the single networks."""
    here = sorted(
        (item for item in methods if item["here"]), key=lambda item: item["ms"]["median_ms"]
    )
    own = [item["key"] for item in here if item["key"].startswith(OURS)]
    others = [item["key"] for item in here if item["key"] not in (*own, *ONE_NETWORK)]
    keys = {OURS, *own[:1], *others[:1], *ONE_NETWORK}
    return [item for item in methods if item["key"] in keys]


def _source(file: ResultFile) -> str:
    result = file.result
    machine, batch = result["machine"], result["results"].get("batch", 1)
    return (
        f"{result['model']['name']} on {machine['cpu']}, {machine['cores']} cores, "
        f"{result['created'][:10]}, foveate {result['foveate']['version']}: median time of a call "
        f"with {units.count(batch, 'image')}; ratios are computed per round, their 10th to 90th "
        f"percentile in brackets. Source: {file.name}."
    )


def block(text: str) -> str:
    """Return what stands between the marks, without the line breaks at its ends."""
    return _parts(text)[1].strip("\n")


def with_table(text: str, table: str) -> str:
    """Return a text with the table put between its marks."""
    before, _, after = _parts(text)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def _parts(text: str) -> tuple[str, str, str]:
    """Return the text before, between and after the marks; DataError unless each is there once."""
    before, _, rest = text.partition(BEGIN)
    inner, _, after = rest.partition(END)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or END in before:
        raise DataError(
            f"expected {BEGIN} and then {END}, each once; got {text.count(BEGIN)} and "
            f"{text.count(END)}. Put them where the table is to stand"
        )
    return before, inner, after


def main(arguments: Sequence[str]) -> int:
    """Replace the table and return 0; a user's mistake is one line and 2."""
    short = "--short" in arguments[:1]
    paths = [Path(text) for text in (arguments[1:] if short else arguments)]
    if len(paths) < 2:
        print(USAGE, file=sys.stderr)
        return 2
    page, *paths = paths
    try:
        table = readme_table([read_file(path) for path in paths], short=short)
        text = with_table(page.read_text(encoding="utf-8"), table)
        write_atomically(page, text.encode())
    except FoveateError as error:
        print(f"Error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {one_line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
