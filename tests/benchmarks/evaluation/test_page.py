"""The page of an evaluation: the right images, nothing loaded from elsewhere, text escaped."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from foveate.benchmarks.measure.pictures import difference
from foveate.benchmarks.report.evaluation_cards import chosen
from foveate.runtime.io.png import class_colour


@pytest.fixture(scope="module")
def page(written: tuple[Path, str]) -> str:
    return (written[0] / "index.html").read_text(encoding="utf-8")


def test_best_median_and_worst_are_apart() -> None:
    parts = chosen({f"s{index:02}": index / 20 for index in range(20)})
    assert parts["Best"] == ["s19", "s18", "s17", "s16"]
    assert parts["Median"] == ["s11", "s10", "s09", "s08"]
    assert parts["Worst"] == ["s03", "s02", "s01", "s00"]
    assert chosen({"a": 0.5, "b": 0.6}) == {"Best": ["b", "a"]}
    assert [len(stems) for stems in chosen(dict.fromkeys("abcdefghi", 0.5)).values()] == [4, 1, 4]
    assert chosen({}) == {}


def test_the_cards_are_in_order_of_dice_as_the_csv_has_it(
    written: tuple[Path, str], page: str
) -> None:
    with (written[0] / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "cascade" and row["dice"]]
    shown = [float(value) for value in re.findall(r"<b class=\"\w+\">Dice ([\d.]+)</b>", page)]
    values = sorted((float(row["dice"]) for row in rows), reverse=True)
    assert len(shown) == min(12, len(values))
    assert shown[:4] == pytest.approx(values[:4], abs=6e-4)
    assert shown[-4:] == pytest.approx(values[-4:], abs=6e-4)
    assert page.count("<figcaption>what differs</figcaption>") == len(shown)


def test_the_page_is_small_loads_nothing_and_escapes_names(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "<img src=x" not in page and "a &amp; b" in page
    assert "&lt;img src=x onerror=alert(1)&gt;{{machine}}" in page
    places = page.replace("&gt;{{machine}}", "")
    assert "{{" not in places and "nan" not in places.split("<img")[0] and len(page) < 3_000_000


def test_the_page_shows_the_terminals_figures(written: tuple[Path, str], page: str) -> None:
    spans = re.findall(r"\[[+-]?\d+\.\d+, [+-]?\d+\.\d+\]", written[1])
    assert len(spans) == 3 + 2 * 2 and all(span in page for span in spans)
    assert page.count("<svg") == 3 and '<p class="warning">The intervals rest on 12 groups' in page


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
