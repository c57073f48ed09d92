"""The load on ``foveate serve``: nothing is lost, masks are right, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from foveate.benchmarks.scripts.serve_load import Asked, broken, main, summary


def test_every_request_of_a_short_load_is_answered(thresholds: Path, tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    arguments = [thresholds, "--side", 128, "--seconds", 1, "--queue", 1, "--out", out]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    parts = found["results"]["parts"]
    assert list(parts) == ["closed", "0.5x", "1x", "2x"] and found["broken"] == []
    assert found["results"]["sent"] == found["results"]["counted"]
    for part in parts.values():
        assert sum(part["statuses"].values()) == part["requests"] and part["lost"] == 0
        assert part["response"]["p99_ms"] >= part["response"]["median_ms"] > 0


@pytest.mark.parametrize(
    "asked, said",
    [
        (Asked(0, 1.0), "x: 1 lost"),
        (Asked(200, 1.0, right=False), "x: 1 wrong_masks"),
        (Asked(429, 1.0), "x: 1 without_retry_after"),
        (Asked(503, 1.0, retry_after=True), "x: answered 503"),
    ],
)
def test_what_must_not_be_is_said(asked: Asked, said: str) -> None:
    good = [Asked(200, 0.5), Asked(429, 0.1, retry_after=True)]
    assert broken("x", summary(good)) == []
    assert said in broken("x", summary([*good, asked]))
