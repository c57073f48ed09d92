"""The plots: pictures of the expected size, in which something is drawn."""

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

from foveate.benchmarks.report import plots
from foveate.benchmarks.schema.result_files import write_result
from tests.benchmarks import benchmark_results as made


def pixels(png: bytes | None) -> npt.NDArray[np.int_]:
    assert png is not None
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int)


def share(picture: npt.NDArray[np.int_], colour: str) -> float:
    """Return which share of the pixels has a colour, give or take the edges of lines."""
    expected = np.array(to_rgb(colour)) * 255
    return float((np.abs(picture - expected).max(axis=2) < 12).mean())


PLOTS: list[tuple[Callable[[], bytes | None], tuple[str, ...]]] = [
    (
        lambda: plots.dice_against_rate(made.compare_result()["results"]["methods"]),
        (plots.OURS, plots.OTHER),
    ),
    (
        lambda: plots.dice_against_time(made.pareto_result()["results"]["rows"][::-1]),
        (plots.OURS, plots.OTHER, plots.MARK),
    ),
    (lambda: plots.latency_distribution(made.latency_row()), (plots.OURS, plots.OTHER)),
    (lambda: plots.stage_bars(made.latency_row()), (plots.OTHER, plots.MARK)),
    (
        lambda: plots.file_stages(made.throughput_result()["results"]["files"]),
        (plots.OURS, plots.OTHER, plots.MARK),
    ),
    (
        lambda: plots.offered_load([made.load(5.0), made.load(20.0)]),
        (plots.OURS, plots.OTHER, plots.THIRD),
    ),
]


@pytest.mark.parametrize(
    ("plot", "colours"), PLOTS, ids=["dice", "pareto", "ecdf", "bars", "files", "load"]
)
def test_a_plot_has_its_size_and_its_colours(
    plot: Callable[[], bytes | None], colours: tuple[str, ...]
) -> None:
    picture = pixels(plot())
    assert picture.shape[1] == 960 and picture.shape[0] >= 720
    assert 0.5 < share(picture, plots.CARD) < 0.99 and share(picture, plots.INK) > 0.001
    for colour in colours:
        assert share(picture, colour) > 0.0005, colour


def test_a_longer_stage_is_a_longer_bar() -> None:
    row = made.latency_row()
    before = share(pixels(plots.stage_bars(row)), plots.OTHER)
    row["stages"]["decode"] = made.times(made.seconds(0.04))
    assert share(pixels(plots.stage_bars(row)), plots.OTHER) > 1.5 * before


def test_without_dice_there_is_no_plot_of_dice() -> None:
    assert plots.dice_against_rate([made.method("foveate", "foveate", 0.04, None)]) is None


def test_one_rate_is_no_curve() -> None:
    assert plots.offered_load([made.load(5.0)]) is None


def test_more_methods_make_the_picture_higher_by_their_legend() -> None:
    items = [made.method(f"m{n}", f"method {n}", 0.03 + n / 100, 0.9) for n in range(14)]
    few, many = (pixels(plots.dice_against_rate(part)) for part in (items[:2], items))
    assert many.shape[0] - few.shape[0] == 6 * plots.LEGEND_ROW_PX


def test_dollars_in_names_are_no_mathematics() -> None:
    item = made.method("a", r"$\frac{1$", 0.05, 0.9)
    assert pixels(plots.dice_against_rate([item])).shape[1] == 960


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
