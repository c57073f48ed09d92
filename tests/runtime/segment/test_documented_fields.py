"""docs/outputs.md names every field that ``foveate segment`` writes, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foveate.runtime.bundle.bundle import open_bundle
from tests.conftest import run
from tests.soak.folders import spot

PAGE = Path(__file__).parents[3] / "docs" / "outputs.md"


def documented(heading: str) -> set[str]:
    """Return the fields in the first table of fields below a heading."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = section.split("| field | meaning |\n")[1].split("\n\n")[0].splitlines()
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def fields(values: Mapping[str, Any], nested: tuple[str, ...] = ()) -> set[str]:
    """Return the names of fields, of the ``nested`` ones those of their parts."""
    parts = {f"{name}.{part}" for name in nested for part in values[name]}
    return values.keys() - set(nested) | parts


def images(folder: Path) -> Path:
    """One good image of each depth, one that is dim, in colour; and one that is not an image."""
    folder.mkdir()
    good = cv2.cvtColor(spot(64, np.random.default_rng(1)), cv2.COLOR_GRAY2BGR)
    cv2.imwrite(str(folder / "a.png"), good)
    cv2.imwrite(str(folder / "b.png"), good.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "dim.png"), good.astype(np.uint16))
    (folder / "text.png").write_text("text")
    return folder


def test_every_field_is_in_the_tables(thresholds: Path, tmp_path: Path) -> None:
    out, bundle = tmp_path / "out", open_bundle(thresholds).label
    options = ("--out", out, "--json", "--pixel-size", "0.5um", "--min-area", "1um2", "--objects")
    options += ("--rank",)
    done = run("segment", thresholds, images(tmp_path / "in"), *options)
    summary, job = json.loads(done.output), json.loads((out / "job.json").read_text())
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert fields(summary, ("plan",)) == documented("The summary of `--json`")
    assert fields(job, ("outputs",)) == documented("job.json")
    assert [fields(row) for row in rows] == 3 * [documented("A line of `results.jsonl`")]
    assert summary["schema"] == 1 and summary["engines"] == {"onnxruntime fp32": 3}
    assert {row["bundle"] for row in [*rows, summary]} == {bundle}
    assert re.fullmatch(r"threshold\.bundle [0-9a-f]{12}", bundle)
    assert job["bundle"].startswith(bundle.split()[1])


def test_16_bit_images_in_an_8_bit_bundle_are_told(thresholds: Path, tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    done = run("segment", thresholds, folder, "--out", out)
    assert "2 16-bit images were given to an 8-bit bundle: divided by 257" in done.output
    assert "3 images in colour were given to a grey bundle: read as grey" in done.output
    assert f"(low_range), the first {folder / 'dim.png'}: scale them to" in done.output
    assert f"failed: {folder / 'text.png'}: is not an image" in done.output
    assert "what the cores could give" not in done.output  # of so few images nothing is known
    alone = run("segment", thresholds, folder / "a.png", "--out", tmp_path / "alone", "--verbose")
    assert "16-bit images" not in alone.output and "low_range" not in alone.output
    assert re.search(r"a\.png: a\.png, \d+ ms$", alone.output, re.MULTILINE)


def test_an_old_journal_is_resumed(thresholds: Path, tmp_path: Path) -> None:
    """Its lines had neither the bundle nor the type of the image."""
    command = ("segment", thresholds, images(tmp_path / "in"), "--out", tmp_path / "out", "--json")
    run(*command)
    journal = tmp_path / "out" / "results.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    old = [{n: v for n, v in row.items() if n not in ("bundle", "image_type")} for row in rows]
    journal.write_text("".join(f"{json.dumps(row)}\n" for row in old))
    again = json.loads(run(*command, "--resume").output)
    assert (again["resumed"], again["written"], len(again["failures"])) == (3, 0, 1)


def test_a_bundle_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    assert run("segment", tmp_path / "none.bundle", folder, "--out", out).exception is not None
    assert not out.exists()
