"""The page of an evaluation: the right images, nothing loaded from elsewhere, text escaped."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.measure.pictures import difference
from foveate.benchmarks.report.evaluation_cards import chosen
from foveate.runtime.io.png import class_colour
from tests.conftest import run

NASTY = "<img src=x onerror=alert(1)>{{machine}}"


@pytest.fixture(scope="module")
def page(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder and page of twelve images and one more with a name that is markup."""
    root = tmp_path_factory.mktemp("page") / "a & b"
    shutil.copytree(data, root)
    stem = sorted(path.stem for path in (root / "images").iterdir())[0]
    for folder in ("images", "masks"):
        (root / folder / f"{stem}.png").rename(root / folder / f"{NASTY}.png")
    out = root.parent / "out"
    result = run("evaluate", bundle, root, "--out", out)
    assert result.exception is None, result.exception
    return out, (out / "index.html").read_text(encoding="utf-8")


def test_best_median_and_worst_are_apart() -> None:
    scores = {f"s{index:02}": index / 20 for index in range(20)}
    parts = chosen(scores)
    assert parts["Best"] == ["s19", "s18", "s17", "s16"]
    assert parts["Median"] == ["s11", "s10", "s09", "s08"]
    assert parts["Worst"] == ["s03", "s02", "s01", "s00"]
    assert chosen({"a": 0.5, "b": 0.6}) == {"Best": ["b", "a"]}
    few = chosen({name: 0.5 for name in "abcdefghi"})
    assert [len(stems) for stems in few.values()] == [4, 1, 4]
    assert chosen({}) == {}


def test_the_cards_are_in_order_of_dice_as_the_csv_has_it(page: tuple[Path, str]) -> None:
    out, text = page
    with (out / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "cascade" and row["dice"]]
    shown = [float(value) for value in re.findall(r"<b class=\"\w+\">Dice ([\d.]+)</b>", text)]
    values = sorted((float(row["dice"]) for row in rows), reverse=True)
    assert len(shown) == min(12, len(values))
    assert shown[:4] == pytest.approx(values[:4], abs=6e-4)
    assert shown[-4:] == pytest.approx(values[-4:], abs=6e-4)
    assert text.count("<figcaption>what differs</figcaption>") == len(shown)


def test_the_page_loads_nothing_and_escapes_names(page: tuple[Path, str]) -> None:
    _, text = page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "<img src=x" not in text and "a &amp; b" in text
    assert "&lt;img src=x onerror=alert(1)&gt;{{machine}}" in text
    places = re.sub(re.escape("&gt;{{machine}}"), "", text)
    assert "{{" not in places and "nan" not in places.split("<img")[0]


def test_the_page_shows_the_terminals_figures(
    page: tuple[Path, str], bundle: Path, data: Path
) -> None:
    shown = run("evaluate", bundle, data).output
    spans = re.findall(r"\[[+-]?\d\.\d{3}, [+-]?\d\.\d{3}\]", shown)
    assert len(spans) == 3 and all(span in page[1] for span in spans)
    assert page[1].count("<svg") == 2 and "12 groups only" in page[1]


def test_what_differs_has_its_colour() -> None:
    image = np.zeros((20, 20), np.uint8)
    mask, truth = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    mask[0:10], truth[5:15] = 1, 1
    truth[7:9] = 2
    picture = difference(image, mask, truth)
    assert tuple(picture[2, 5]) == class_colour(4)[::-1]
    assert tuple(picture[12, 5]) == class_colour(3)[::-1]
    assert tuple(picture[8, 5]) == class_colour(5)[::-1]
    assert not picture[18].any()


def test_pictures_are_small(page: tuple[Path, str]) -> None:
    assert (page[0] / "index.html").stat().st_size < 3_000_000
