"""``segment --page``: what the page says is what the journal says."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.errors import SettingsError
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.io.outputs import THUMBNAIL, encode_thumbnail
from foveate.runtime.page.run_page import SHOWN_FAILURES, write_run_page
from foveate.runtime.result import Result
from tests.conftest import run
from tests.soak.folders import spot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images whose names are hard to write in HTML and links, one empty, two that are no images."""
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name in ('a "b" <i>&amp;', "50%20 \u00fc#?", "c"):
        Image.fromarray(spot(64, rng)).save(folder / f"{name}.png")
    Image.fromarray(cv2.resize(spot(64, rng), (600, 300))).save(folder / "wide.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "none.png")
    for name in ("<script>", "text"):
        (folder / f"{name}.png").write_text("text")
    return folder


def page_data(page: Path) -> dict[str, Any]:
    text = page.read_text().split('<script type="application/json" id="data">')[1]
    data: dict[str, Any] = json.loads(text.split("</script>")[0])
    return data


def rows_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a page under the names that the journal has."""
    names = ("name", "width", "height", "score", "doubt", "flags", "area", "objects")
    found = [dict(zip(names, row, strict=False)) for row in data["rows"]]
    for row in found:
        row["flags"] = [flag for bit, flag in enumerate(data["flags"]) if row["flags"] >> bit & 1]
        for name in row.keys() & {"area", "objects"}:
            classes = [label for label, _ in data["classes"]]
            row[name] = dict(zip(classes, row[name], strict=True))
    return found


def test_the_page_has_every_line_and_its_pictures(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "<b>out"
    done = run("segment", thresholds, folder, "--out", out, "--page", "--overlay", "--objects")
    assert done.return_value == 1 and f"page of this run: {out / 'index.html'}" in done.output
    data = page_data(out / "index.html")
    journal = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    found = rows_of(data)
    assert len(found) == len(journal) == 5
    for row, line in zip(found, sorted(journal, key=lambda line: line["mask"]), strict=True):
        assert f"{row.pop('name')}.png" == line["mask"] and row.pop("doubt") is None
        assert row == {name: line[name] for name in row}
    failed = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert data["failed"] == 2 and data["left"] == 0
    assert data["failures"] == sorted([line["input"], 0, line["reason"]] for line in failed)
    for row, (name, *_) in zip(found, data["rows"], strict=True):
        before, after = data["full"]
        assert (out / f"{before}{name}{after}").exists() and before == "overlays/"
        before, after = data["thumbnail"]
        with Image.open(out / f"{before}{name}{after}") as picture:
            assert picture.size == ((192, 96) if row["width"] == 600 else (64, 64))


def test_the_page_loads_nothing_and_runs_nothing_of_the_names(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "<b>out"
    run("segment", thresholds, folder, "--out", out, "--page")
    text = (out / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"?(?!data:)\w|@import|url\(|fetch\(|<b>|<i>", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    assert f"<title>{html.escape(out.name)} - foveate segment</title>" in text
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy[1]
    assert page_data(out / "index.html")["full"] == ["", ".png"]  # without --overlay the mask


def test_a_resumed_run_and_shards_have_the_same_rows(
    thresholds: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("segment", thresholds, folder, "--page", "--out")
    run(*command, tmp_path / "whole" / "out")
    whole = (tmp_path / "whole" / "out" / "index.html").read_bytes()

    out = tmp_path / "out"
    run(*command, out)
    (out / "index.html").unlink()
    (out / "thumbnails" / "c.jpg").unlink()
    journal = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(journal)[:-9])
    assert json.loads(run(*command, out, "--resume", "--json").output)["resumed"] in (3, 4)
    assert (out / "index.html").read_bytes() == whole
    refused = run("segment", thresholds, folder, "--out", out, "--resume").exception
    assert isinstance(refused, SettingsError) and "page True, now False" in str(refused)

    parts = []
    for index in (1, 2):
        run(*command, tmp_path / "shards", "--shard", f"{index}/2")
        parts.append(page_data(tmp_path / "shards" / f"index.{index}-of-2.html"))
        assert parts[-1]["failures_file"] == f"failures.{index}-of-2.jsonl"
    rows = [row["name"] for part in parts for row in rows_of(part)]
    assert sorted(rows) == sorted(row[0] for row in page_data(out / "index.html")["rows"])
    assert sum(part["failed"] for part in parts) == 2


def test_lines_with_doubt_later_lines_and_many_failures(tmp_path: Path) -> None:
    line = {"page": 0, "width": 4, "height": 3, "flags": [], "area": {"bright": 5}}
    lines = [
        line | {"input": "in/a.png", "mask": "a.png", "score": 0.7, "doubt": 0.25},
        line | {"input": "in/b.png", "mask": "b.png", "score": 0.8, "flags": ["low_score"]},
        line | {"input": "in/a.png", "mask": "a.png", "score": 0.9, "doubt": 0.5},
    ]
    failures = [{"input": f"in/{n}.png", "reason": "is not an image"} for n in range(600)]
    failures.append({"input": "in/a.png", "reason": "was cut short, then was whole"})
    classes, outputs = ("background", "bright"), OutputSettings(page=True)
    page = write_run_page(tmp_path, "", lines, failures, classes, outputs, "a bundle", left=7)
    data = page_data(page)
    assert data["rows"] == [["a", 4, 3, 0.9, 0.5, 0, [5]], ["b", 4, 3, 0.8, None, 1, [5]]]
    assert (data["failed"], len(data["failures"]), data["left"]) == (600, SHOWN_FAILURES, 7)


def test_one_pixel_shows_in_a_thumbnail(thresholds: Path) -> None:
    spec = open_bundle(thresholds).spec
    box = np.zeros((0, 4), np.float32)
    image = np.zeros((1000, 700), np.uint8)
    for row, column in ((0, 0), (999, 699), (501, 333)):
        mask = np.zeros_like(image)
        mask[row, column] = 1
        encoded = encode_thumbnail(image, Result(mask, box, 1.0), spec)
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape == (THUMBNAIL, 134, 3)
        y, x, _ = np.unravel_index(np.argmax(picture), picture.shape)
        assert abs(y - row * 0.192) < 3 and abs(x - column * 0.192) < 3 and picture.max() > 60
