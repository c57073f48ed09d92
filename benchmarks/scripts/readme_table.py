"""The table of README.md, written from compare results.

``python -m foveate.benchmarks.scripts.readme_table README.md FILE...`` replaces what stands between
the two marks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foveate.benchmarks.report.model_results import ResultFile, read_file
from foveate.benchmarks.report.tables.compare import methods_table
from foveate.benchmarks.schema import units
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import DataError, FoveateError, one_line

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def readme_table(files: Sequence[ResultFile]) -> str:
    """Return a Markdown table of each compare result, with machine, date, version and file.

    DataError for a result of another kind, and for one that contradicts itself.
    """
    return "\n\n".join(map(_table, files))


def _table(file: ResultFile) -> str:
    if file.kind != "compare":
        raise DataError(
            f"{file.name}: a {file.kind} result; expected one of foveate benchmark compare"
        )
    if file.issues:
        raise DataError(
            f"{file.name}: contradicts itself, so it is not for a README: {file.issues[0]}"
        )
    table = methods_table(file.result["results"])
    table = table.select("method", "time", "against foveate", "Dice", "disagreement")
    missing = [
        f"Not measured: {item['name']}: {item['reason']}"
        for item in file.result["results"]["methods"]
        if not item["here"]
    ]
    return replace(table, notes=[_source(file), *missing]).as_markdown()


def _source(file: ResultFile) -> str:
    result = file.result
    return (
        f"{result['model']['name']} on {result['machine']['cpu']}, {result['machine']['cores']} "
        f"cores, {result['created'][:10]}, foveate {result['foveate']['version']}: median times of "
        f"{units.count(result['results'].get('batch', 1), 'image')} a call, "
        f"ratios round by round (10% to 90% of the rounds), {file.name}."
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
    if len(arguments) < 2:
        print(
            "Usage: python -m foveate.benchmarks.scripts.readme_table README.md FILE...",
            file=sys.stderr,
        )
        return 2
    readme, *paths = map(Path, arguments)
    try:
        table = readme_table([read_file(path) for path in paths])
        text = with_table(readme.read_text(encoding="utf-8"), table)
        write_atomically(readme, lambda file: file.write(text.encode()))
    except FoveateError as error:
        print(f"Error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Error: {one_line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
