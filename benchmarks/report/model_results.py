"""Result files read for a report, and put together by the model they were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.benchmarks.report.result_text import result_parity, result_tables
from foveate.benchmarks.report.table import Table
from foveate.benchmarks.schema.consistency import find_inconclusive, find_issues, find_lost
from foveate.benchmarks.schema.result_files import read_result
from foveate.runtime.errors import DataError, one_line


@dataclass(frozen=True)
class ResultFile:
    """One result, the name of its file, its tables, what not to believe and what is open.

    ``lost``: variants whose masks differ, with the words for it.
    """

    name: str
    result: dict[str, Any]
    tables: tuple[Table, ...]
    issues: tuple[str, ...]
    inconclusive: tuple[str, ...]
    lost: dict[str, str]

    @property
    def kind(self) -> str:
        return str(self.result["kind"])

    @property
    def parity(self) -> Mapping[str, Any]:
        return result_parity(self.result)


@dataclass(frozen=True)
class ModelResults:
    """The results of one model on one data set, in the order the files were given."""

    name: str
    sha256: str
    data: str
    files: tuple[ResultFile, ...]

    def of(self, kind: str) -> list[ResultFile]:
        return [file for file in self.files if file.kind == kind]

    def newest(self, kind: str) -> ResultFile | None:
        return max(self.of(kind), key=lambda file: file.result["created"], default=None)


def read_file(path: Path) -> ResultFile:
    """Return a result file; DataError when it is not one, or a figure of it is missing."""
    result = read_result(path)
    with complete(path.name, result):
        issues = tuple(map(one_line, find_issues(result)))
        inconclusive = tuple(map(one_line, find_inconclusive(result)))
        tables, lost = tuple(result_tables(result)), find_lost(result)
        return ResultFile(path.name, result, tables, issues, inconclusive, lost)


@contextmanager
def complete(name: str, result: Mapping[str, Any]) -> Iterator[None]:
    """Raise DataError where what is done with the result of a file finds a figure missing."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{name}: not a complete {result['kind']} result: {what}; measure it again"
        ) from None


def by_model(files: Sequence[ResultFile]) -> list[ModelResults]:
    """Return the files grouped by the model's name and manifest, and by the data's name."""
    groups: dict[tuple[str, str, str], list[ResultFile]] = {}
    for file in files:
        model, data = file.result["model"], file.result["data"]
        groups.setdefault((model["name"], model["sha256"], data["name"]), []).append(file)
    return [ModelResults(*key, tuple(found)) for key, found in groups.items()]
