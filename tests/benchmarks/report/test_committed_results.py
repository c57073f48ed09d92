"""The results in the repository are sound, and the published tables say what they say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foveate.benchmarks.report.model_results import read_file
from foveate.benchmarks.schema.consistency import find_issues, find_lost
from foveate.benchmarks.schema.result_files import read_result
from foveate.benchmarks.scripts.readme_table import block, readme_table
from tests.test_layout import ROOT

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def test_there_are_results_of_every_kind() -> None:
    assert {read_result(path)["kind"] for path in RESULTS} == {
        "parity", "latency", "throughput", "compare",
    }  # fmt: skip


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_result_is_sound(path: Path) -> None:
    result = read_result(path)
    assert find_issues(result) == [] and not find_lost(result)
    assert result["foveate"]["commit"], "measured outside a checkout"
    assert not any(place in path.read_text() for place in (os.environ.get("HOME", "/tmp"), "/tmp"))


@pytest.mark.parametrize(("page", "short"), [("README.md", True), ("docs/results.md", False)])
def test_a_published_table_is_that_of_the_results(page: str, short: bool) -> None:
    file = read_file(ROOT / "benchmarks" / "results" / "reference-compare.json")
    assert block((ROOT / page).read_text(encoding="utf-8")) == readme_table([file], short=short)
