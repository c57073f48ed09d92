"""The plots: pictures of the size wanted, in which something is drawn; labels that hide nothing."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from foveate.benchmarks.report import canvas, plots
from foveate.benchmarks.report.label_places import Box, as_array, common_areas, places
from foveate.benchmarks.schema.result_files import write_result
from tests.benchmarks import benchmark_results as made


def pixels(png: bytes | None) -> npt.NDArray[np.int_]:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)


def share(picture: npt.NDArray[np.int_], colour: str) -> float:
    """Return which share of the pixels has a colour, give or take the edges of lines."""
    wanted = np.array(to_rgb(colour)) * 255
    return float((np.abs(picture - wanted).max(axis=2) < 12).mean())


PLOTS: list[tuple[Callable[[], bytes | None], tuple[str, ...]]] = [
    (
        lambda: plots.dice_against_rate(made.compare_result()["results"]["methods"]),
        (canvas.OURS, canvas.OTHER),
    ),
    (lambda: plots.latency_distribution(made.latency_row()), (canvas.OURS, canvas.OTHER)),
    (lambda: plots.stage_bars(made.latency_row()), (canvas.OTHER, canvas.MARK)),
    (
        lambda: plots.file_stages(made.throughput_result()["results"]["files"]),
        (canvas.OURS, canvas.OTHER, canvas.MARK),
    ),
    (
        lambda: plots.offered_load([made.load(5.0), made.load(20.0)]),
        (canvas.OURS, canvas.OTHER, canvas.THIRD),
    ),
]


@pytest.mark.parametrize(("plot", "colours"), PLOTS, ids=["dice", "ecdf", "bars", "files", "load"])
def test_a_plot_has_its_size_and_its_colours(
    plot: Callable[[], bytes | None], colours: tuple[str, ...]
) -> None:
    picture = pixels(plot())
    assert picture.shape == (720, 960, 3)
    assert 0.5 < share(picture, canvas.CARD) < 0.99 and share(picture, canvas.INK) > 0.001
    for colour in colours:
        assert share(picture, colour) > 0.0005, colour


def test_a_longer_stage_is_a_longer_bar() -> None:
    row = made.latency_row()
    before = share(pixels(plots.stage_bars(row)), canvas.OTHER)
    row["stages"]["decode"] = made.times(made.seconds(0.04))
    assert share(pixels(plots.stage_bars(row)), canvas.OTHER) > 1.5 * before


def test_without_dice_there_is_no_plot_of_dice() -> None:
    assert plots.dice_against_rate([made.method("foveate", "foveate", 0.04, None)]) is None


def test_one_rate_is_no_curve() -> None:
    assert plots.offered_load([made.load(5.0)]) is None


def test_dollars_in_names_are_no_mathematics() -> None:
    item = made.method("a", r"$\frac{1$", 0.05, 0.9)
    assert pixels(plots.dice_against_rate([item])).shape == (720, 960, 3)


def test_labels_of_close_points_hide_neither_each_other_nor_a_point() -> None:
    points = [(400.0 + 28 * number, 300.0 + number % 2) for number in range(8)]
    frame, marker = Box(100, 80, 940, 660), 11.0
    found = places(points, [(170.0, 26.0)] * 8, frame, marker)
    drawn = [Box(x - marker, y - marker, x + marker, y + marker) for x, y in points]
    labels = as_array(found)
    common = common_areas(labels, labels)
    assert np.allclose(np.diag(common), 170 * 26)
    assert common.sum() == pytest.approx(np.trace(common))
    assert common_areas(labels, as_array(drawn)).sum() == 0
    assert common_areas(labels, as_array([frame])).sum() == pytest.approx(8 * 170 * 26)


def test_a_missing_matplotlib_names_the_install_line(tmp_path: Path) -> None:
    write_result(tmp_path / "a.json", made.compare_result())
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from foveate.cli import main\n"
        f"sys.argv = ['foveate', 'benchmark', 'report', {str(tmp_path / 'a.json')!r}]\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "needs matplotlib: pip install 'foveate[benchmark]'" in done.stderr
