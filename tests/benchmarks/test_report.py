"""The report: its figures, the lies it must see, what it escapes, and how it fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from foveate.benchmarks.compare.comparison import summarise_comparison
from foveate.benchmarks.schema.result_files import doubts, write_result
from foveate.runtime.errors import DataError
from tests.benchmarks import benchmark_results as made
from tests.conftest import run

NASTY = "<script>alert(1)</script>{{models}}$x_"


def report(folder: Path, *results: dict[str, Any]) -> tuple[Result, str]:
    """Write results, run the command and return its outcome and page."""
    paths = [folder / f"{number}.json" for number in range(len(results))]
    for path, result in zip(paths, results, strict=True):
        write_result(path, result)
    done = run("benchmark", "report", *paths, "--out", folder / "page")
    page = folder / "page" / "index.html"
    return done, page.read_text(encoding="utf-8") if page.exists() else ""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str, Path]:
    folder = tmp_path_factory.mktemp("sound")
    done, page = report(folder, *(build() for build in made.RESULTS.values()))
    return done, page, folder / "page"


def test_sound_results_give_no_doubt(sound: tuple[Result, str, Path]) -> None:
    done, page, folder = sound
    assert done.exception is None and done.return_value == 0, done.output
    assert done.output == f"Page: {(folder / 'index.html').resolve()}\n"
    assert "Do not believe" not in page and "NOT HELD" not in page


def cells(page: str) -> list[str]:
    return re.findall(r"<td[^>]*>([^<]*)</td>", page)


def test_the_page_shows_the_figures_of_every_kind(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    row = made.latency_row()
    wanted = [f"{row['call'][name]:.1f}" for name in ("min_ms", "median_ms", "p99_ms", "max_ms")]
    wanted += [f"{row['whole']['median_ms']:.1f}", f"{row['overhead']['median']:.2f}"]
    wanted += ["338", "61.7", "95.5"]  # cold start
    wanted += [f"{made.load(20.0)['response']['p99_ms']:.0f}", "20.0"]  # offered load
    wanted += ["24.6", "23.9", "6.90", "81.2", "89%", "1.31", "51.0"]  # throughput, roofline
    wanted += ["0.9188", "0.9135", "1.47", "9.73", "0.00012", "case_07"]
    found = cells(page)
    assert [text for text in wanted if text not in found] == []
    tile = re.search(r"<b>([\d.]+) ms</b><span>Median latency, batch 1</span>", page)
    assert tile and tile[1] == f"{row['call']['median_ms']:.1f}"


def test_losses_and_missing_methods_are_said(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    assert re.search(r'class="poor">Faster than foveate: ONNX Runtime by hand \(0\.9\d+', page)
    assert "Higher Dice than foveate&#x27;s 0.9134: one U-Net at full size (0.9188)." in page
    assert "<dt>OpenVINO</dt><dd>is not installed</dd>" in page


def test_every_speed_has_its_parity_beside_it(sound: tuple[Result, str, Path]) -> None:
    found = cells(sound[1])
    speeds = 2 + 2 + 1 + 3 + 3  # latency, stages, cold start, offered load, grid
    assert found.count("held") == speeds + len(made.RESULTS)  # and each file's parity table
    assert found.count("NOT MEASURED") == 1  # the single network's disagreement


def test_every_term_machine_and_command_is_there(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    assert page.count("A Processor 9000, 2 cores, 15.6 GB memory, avx2 fma, no GPU") == 4
    assert page.count("commit 0b85c3500000") == 4 and "onnxruntime 1.20.1" in page
    assert "foveate benchmark latency lung.bundle" in page and "<dt>cv</dt>" in page


def test_the_page_loads_nothing_and_has_the_plots_that_lie_beside_it(
    sound: tuple[Result, str, Path],
) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', sound[1])
    assert sources == ["data:image/png;base64,"] * 7
    assert len(list(sound[2].glob("*.png"))) == 7


def test_warnings_of_a_result_are_in_a_box(tmp_path: Path) -> None:
    result = made.parity_result()
    result["warnings"] = ['the clock governor is "powersave"']
    done, page = report(tmp_path, result)
    assert done.return_value == 0
    assert "0.json: the clock governor is &quot;powersave&quot;" in page


def stage_in_seconds(result: dict[str, Any]) -> None:
    execute = made.seconds(0.0441 / 1000, seed=4)
    result["results"]["rows"][0]["stages"]["execute"] = made.times(execute)


def all_in_seconds(result: dict[str, Any]) -> None:
    """Divide every time of a row by 1000, samples too; only the clock on the wall is left."""

    def smaller(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: item
                if name in ("n", "cv")
                else [x / 1000 for x in item]
                if name == "samples_ms"
                else item / 1000
                if name.endswith("_ms")
                else smaller(item)
                for name, item in value.items()
            }
        return value

    row = result["results"]["rows"][0]
    result["results"]["rows"][0] = {**smaller(row), "elapsed_s": row["elapsed_s"]}


def better_p99(result: dict[str, Any]) -> None:
    result["results"]["rows"][0]["call"]["p99_ms"] *= 0.9


def better_mean(result: dict[str, Any]) -> None:
    result["results"]["rows"][1]["whole"]["mean_ms"] *= 0.9


def samples_left_out(result: dict[str, Any]) -> None:
    result["results"]["rows"][0]["stages"]["decode"] = made.times(made.seconds(0.007, 39))


def blank_masks(result: dict[str, Any]) -> None:
    lost = made.parity(disagreement=0.98, dice=0.0, dice_change=-0.9135, held=False)
    result["parity"] = {made.VARIANT: lost}


def no_parity(result: dict[str, Any]) -> None:
    result["parity"] = {}


def parity_of_another(result: dict[str, Any]) -> None:
    result["parity"] = {"openvino fp32": made.parity()}


def sleeping_engine(result: dict[str, Any]) -> None:
    result["results"]["rows"][0]["overhead"] = {"median": 1.7, "low": 1.6, "high": 1.8}


def ratio_of_its_own(result: dict[str, Any]) -> None:
    result["results"]["methods"][1]["ratio"] = {"median": 4.2, "low": 4.1, "high": 4.3}


def no_base(result: dict[str, Any]) -> None:
    del result["results"]["methods"][0]


def above_the_ceiling(result: dict[str, Any]) -> None:
    result["results"]["files"]["images_per_second"] = 40.0


def above_the_roof(result: dict[str, Any]) -> None:
    result["results"]["roofline"]["share"] = 1.4


def above_the_engine(result: dict[str, Any]) -> None:
    result["results"]["grid"][0]["share"] = {"median": 1.4, "low": 1.3, "high": 1.5}


LIES = [
    ("latency", stage_in_seconds, "the stages add up to"),
    ("latency", all_in_seconds, "are the times in milliseconds?"),
    ("latency", better_p99, "p99_ms is"),
    ("latency", better_mean, "mean_ms is"),
    ("latency", samples_left_out, "different numbers of samples"),
    ("latency", blank_masks, "disagreement 0.9800, expected at most 0.001, Dice change -0.9135"),
    ("latency", no_parity, "no parity was measured"),
    ("latency", parity_of_another, f"{made.VARIANT}: no parity was measured"),
    ("latency", sleeping_engine, "times the bare engine"),
    ("compare", ratio_of_its_own, "PyTorch eager: a ratio of 4.2"),
    ("compare", no_base, "foveate itself was not measured"),
    ("throughput", above_the_ceiling, "above the ceiling"),
    ("throughput", above_the_roof, "measured peaks allow"),
    ("throughput", above_the_engine, "times the bare engine's rate"),
]


@pytest.mark.parametrize(("kind", "lie", "said"), LIES, ids=[lie.__name__ for _, lie, _ in LIES])
def test_a_lie_is_found(kind: str, lie: Callable[[dict[str, Any]], None], said: str) -> None:
    result = made.RESULTS[kind]()
    assert doubts(result) == []
    lie(result)
    assert any(said in doubt for doubt in doubts(result)), doubts(result)


def test_a_doubt_stands_on_the_page_and_exits_1(tmp_path: Path) -> None:
    result = made.latency_result()
    blank_masks(result)
    del result["results"]["rows"][1], result["results"]["offered_load"]
    done, page = report(tmp_path, result, made.parity_result())
    assert done.return_value == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("doubt: ")]
    assert "0.json: onnxruntime fp32 gives other masks than PyTorch fp32" in line
    box = page.split('class="box doubts"')[1].split("</div>")[0]
    assert "gives other masks" in box and "1.json" not in box
    assert page.index("box doubts") < page.index("<h2>") and page.count("Doubted, see") == 1
    assert cells(page).count("NOT HELD") == 1 + 1 + 1 + 1 and "Parity NOT HELD." in page


def test_results_are_grouped_by_model(tmp_path: Path) -> None:
    other = made.parity_result()
    other["model"] = {**other["model"], "name": "nerve.bundle", "sha256": "12" * 32}
    _, page = report(tmp_path, made.parity_result(), other, made.compare_result())
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["lung.bundle", "nerve.bundle", "Measured on", "Glossary"]
    assert page.index("<h3>Compared with others") < page.index("<h2>nerve.bundle")


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    results = [build() for build in made.RESULTS.values()]
    for result in results:
        result["model"]["name"] = result["data"]["name"] = result["machine"]["cpu"] = NASTY
        result["warnings"] = [NASTY]
        result["parity"] = {made.VARIANT: made.parity(worst_image=NASTY), NASTY: made.parity()}
    results[1]["results"]["rows"][0]["variant"] = NASTY
    results[1]["results"]["skipped"] = {NASTY: NASTY}
    results[3]["results"]["methods"][0].update(name=NASTY, how=NASTY)
    results[3]["results"]["multiply_adds"] = {NASTY: 1}
    done, page = report(tmp_path, *results)
    assert done.return_value == 0, done.output
    assert "<script" not in page and page.count("&lt;script&gt;") > 20
    assert page.count("{{models}}") == page.count("&lt;/script&gt;{{models}}")


def test_little_is_enough(tmp_path: Path) -> None:
    latency, throughput = made.latency_result(), made.throughput_result()
    latency["results"].update(cold_start=None, offered_load=[], skipped={})
    latency["results"]["rows"][0]["memory_mb"] = None
    del latency["results"]["rows"][1]
    throughput["results"].update(files={}, roofline=None)
    compare = made.compare_result()
    compare["results"].update(parts=[], multiply_adds={})
    for item in compare["results"]["methods"]:
        item.update(dice=None)
    for result in (latency, throughput, compare):
        result["parity"][made.VARIANT].update(dice=None, dice_reference=None, dice_change=None)
    done, page = report(tmp_path, latency, throughput, compare)
    assert done.return_value == 0, done.output
    assert "Roofline" not in page.split("<h2>Glossary")[0] and "None" not in page


def test_times_of_nothing_are_doubted_and_shown(tmp_path: Path) -> None:
    latency, compare = made.latency_result(), made.compare_result()
    row, nothing = latency["results"]["rows"][0], made.times([0.0] * 40)
    row.update(call=nothing, raw=nothing, whole=nothing)
    row["stages"] = dict.fromkeys(row["stages"], nothing)
    latency["results"]["rows"] = [row]
    for item in compare["results"]["methods"][:4]:
        item["ms"] = nothing
    done, page = report(tmp_path, latency, compare)
    assert done.return_value == 1, done.output
    assert "foveate takes no time at all" in done.stderr and "0.000" in cells(page)


def damaged(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    result = made.latency_result()
    change(result)
    done, page = report(folder, result)
    assert isinstance(done.exception, DataError) and page == ""
    return str(done.exception)


def test_what_is_no_result_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert "schema 2; this version reads schema 1" in damaged(
        tmp_path, lambda result: result.update(schema=2)
    )
    assert 'kind "speed"; expected one of parity' in damaged(
        tmp_path, lambda result: result.update(kind="speed")
    )
    assert "has no results.rows[0].call" in damaged(
        tmp_path, lambda result: result["results"]["rows"][0].pop("call")
    )
    assert "results.rows[0].stages.h2d.p99_ms is str" in damaged(
        tmp_path,
        lambda result: result["results"]["rows"][0]["stages"]["h2d"].update(p99_ms="fast"),
    )
    assert f"has no parity.{made.VARIANT}.held" in damaged(
        tmp_path, lambda result: result["parity"][made.VARIANT].pop("held")
    )


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run("benchmark", "report", tmp_path / "none.json", "--out", tmp_path / "page")
    assert isinstance(done.exception, DataError) and "none.json" in str(done.exception)
    assert not (tmp_path / "page").exists()


def test_who_is_level_is_neither_faster_nor_slower() -> None:
    methods = made.compare_result()["results"]["methods"][:2]
    methods[1]["ratio"] = {"median": 0.99, "low": 0.95, "high": 1.03}
    words = [text for _, text in summarise_comparison(methods)]
    assert words[0] == "No method measured here is faster than foveate."
    assert words[1].startswith("Level with foveate") and len(words) == 2
