"""The report: its figures, what must not be believed, what it escapes, and how it fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from foveate.benchmarks.compare.comparison import summarise_comparison
from foveate.benchmarks.report.result_text import result_text
from foveate.benchmarks.schema.result_files import write_result
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
    parity = made.parity_result()
    parity["warnings"] = ['the clock governor is "powersave"']
    others = (made.RESULTS[kind]() for kind in list(made.RESULTS)[1:])
    done, page = report(folder, parity, *others)
    return done, page, folder / "page"


def cells(page: str) -> list[str]:
    return re.findall(r"<td[^>]*>([^<]*)</td>", page)


def test_sound_results_give_no_issue(sound: tuple[Result, str, Path]) -> None:
    done, page, folder = sound
    assert done.exception is None and done.return_value == 0, done.output
    assert done.output == f"Page: {(folder / 'index.html').resolve()}\n"
    assert "Do not believe" not in page and "NOT HELD" not in page
    assert "0.json: the clock governor is &quot;powersave&quot;" in page


def test_page_and_terminal_show_the_figures_of_every_kind(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    row = made.latency_row()
    expected = [f"{row['call'][name]:.1f}" for name in ("min_ms", "median_ms", "p99_ms", "max_ms")]
    expected += [f"{row['whole']['median_ms']:.1f}", f"{row['raw']['p90_ms']:.1f}"]
    expected += ["338", "61.7", "95.5"]  # cold start
    expected += [f"{made.load(20.0)['response']['p99_ms']:.0f}", "20.0"]  # offered load
    expected += ["24.6", "23.9", "6.90", "81.2", "89%", "1.31", "51.0"]  # throughput, roofline
    expected += ["0.9188", "0.9135", "1.47", "9.73", "0.00012"]
    expected += ["0.8622", "0.812 to 0.892", "384x256", "3.21"]  # Pareto
    assert [text for text in expected if text not in cells(page)] == []
    text = "\n".join(result_text(build()) for build in made.RESULTS.values())
    assert [figure for figure in expected if f" {figure}" not in text] == []
    assert max(map(len, text.splitlines())) <= 115
    for shown in (page, text):
        assert (
            "case_07, disagreement 0.00090." in shown
            and "20.7 of at most 21.9 images/s" in shown
            and "lung.bundle, onnxruntime fp32 dominates full.bundle, onnxruntime fp32." in shown
        )
    tile = re.search(r"<b>([\d.]+) ms</b><span>Median latency, batch 1</span>", page)
    assert tile and tile[1] == f"{row['call']['median_ms']:.1f}"


def test_losses_and_missing_methods_are_named(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    assert re.search(r'class="poor">Faster than foveate: ONNX Runtime by hand \(0\.9\d+', page)
    assert "Higher Dice than foveate&#x27;s 0.9134: one U-Net at full size (0.9188)." in page
    assert re.search(r">OpenVINO</td><td[^>]*>is not installed<", page)
    methods = made.compare_result()["results"]["methods"][:2]
    methods[1]["ratio"] = {"median": 0.99, "low": 0.95, "high": 1.03}
    words = [text for _, text in summarise_comparison(methods)]
    assert words[0] == "No method measured here is faster than foveate."
    assert words[1].startswith("Level with foveate") and len(words) == 2


def test_every_speed_has_its_parity_next_to_it(sound: tuple[Result, str, Path]) -> None:
    found = cells(sound[1])
    speeds = 3 * 2 + 2 + 2 + 1 + 3 + 3  # times, overhead, stages, cold start, offered load, grid
    tables = len(made.RESULTS) - 1 + 3  # each file's, of which one has three variants
    assert found.count("held") == speeds + 3 + tables
    assert found.count("not measured") == 1  # the single network's disagreement


def test_every_term_machine_and_command_is_there(sound: tuple[Result, str, Path]) -> None:
    page = sound[1]
    assert page.count("A Processor 9000, 2 cores, 15.6 GB memory, avx2 fma, no GPU") == 5
    assert page.count("commit 0b85c3500000") == 5 and "onnxruntime 1.20.1" in page
    assert "foveate benchmark latency lung.bundle" in page and "<dt>cv</dt>" in page


def test_the_page_loads_nothing_and_its_plots_lie_next_to_it(
    sound: tuple[Result, str, Path],
) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', sound[1])
    assert sources == ["data:image/png;base64,"] * 8
    assert len(list(sound[2].glob("*.png"))) == 8


def test_an_issue_stands_on_the_page_and_exits_1(tmp_path: Path) -> None:
    result = made.latency_result()
    result["parity"] = {made.VARIANT: made.parity(disagreement=0.98, held=False)}
    del result["results"]["rows"][1], result["results"]["offered_load"]
    done, page = report(tmp_path, result, made.parity_result())
    assert done.return_value == 1
    (line,) = done.stderr.splitlines()
    assert "0.json: onnxruntime fp32 gives other masks than PyTorch fp32" in line
    box = page.split('class="box issues"')[1].split("</div>")[0]
    assert "do not use onnxruntime fp32<" in box and "0.json: onnxruntime fp32 gives" in box
    assert "1.json" not in box
    assert page.index("box issues") < page.index("<h2>") and page.count("Doubted, see") == 1
    assert cells(page).count("NOT HELD") == 3 + 1 + 1 + 1 + 1 and "Parity NOT HELD." in page


def test_results_are_grouped_by_model_and_data(tmp_path: Path) -> None:
    other = made.parity_result()
    other["model"] = {**other["model"], "name": "nerve.bundle", "sha256": "12" * 32}
    phantoms = made.latency_result()
    phantoms["data"] = {**phantoms["data"], "name": "phantoms 1024x1024"}
    _, page = report(tmp_path, made.parity_result(), other, phantoms, made.compare_result())
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "lung.bundle on scans", "nerve.bundle on scans", "lung.bundle on phantoms 1024x1024",
        "Measured on", "Glossary",
    ]  # fmt: skip
    assert page.index("<h3>Compared with others") < page.index("<h2>nerve.bundle")


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    results = [build() for build in made.RESULTS.values()]
    for result in results:
        result["model"]["name"] = result["data"]["name"] = result["machine"]["cpu"] = NASTY
        result["warnings"] = [NASTY]
        result["parity"] |= {made.VARIANT: made.parity(worst_image=NASTY), NASTY: made.parity()}
    results[1]["results"]["rows"][0]["variant"] = NASTY
    results[1]["results"]["skipped"] = {NASTY: NASTY}
    results[3]["results"]["methods"][0].update(name=NASTY, how=NASTY)
    results[3]["results"]["multiply_adds"] = {NASTY: 1}
    results[4]["results"]["rows"][0].update(variant=NASTY, model=NASTY)
    results[4]["results"]["models"][0]["name"] = NASTY
    done, page = report(tmp_path, *results)
    assert done.return_value == 0, done.output
    assert "<script" not in page and page.count("&lt;script&gt;") > 20
    assert page.count("{{models}}") == page.count("&lt;/script&gt;{{models}}")


def test_what_may_be_left_out_is_left_out(tmp_path: Path) -> None:
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
        assert "None" not in result_text(result)
    done, page = report(tmp_path, latency, throughput, compare)
    assert done.return_value == 0, done.output
    assert "Roofline" not in page.split("<h2>Glossary")[0] and "None" not in page


def test_times_of_nothing_are_an_issue_and_shown(tmp_path: Path) -> None:
    latency, compare = made.latency_result(), made.compare_result()
    row, nothing = latency["results"]["rows"][0], made.times([0.0] * 40)
    row.update(call=nothing, raw=nothing, whole=nothing)
    row["stages"] = dict.fromkeys(row["stages"], nothing)
    latency["results"]["rows"] = [row]
    for item in compare["results"]["methods"][:4]:
        item["ms"] = nothing
    done, page = report(tmp_path, latency, compare)
    assert done.return_value == 1, done.output
    assert "foveate itself was not measured" in done.stderr and "0.000" in cells(page)


@pytest.mark.parametrize(
    ("where", "name", "value", "said"),
    [
        ((), "schema", 2, "schema 2; this version reads schema 1"),
        ((), "kind", "speed", 'kind "speed"; expected one of parity'),
        (("data",), "images", "few", "data.images is str"),
        (("results", "rows", 0), "call", None, "not a complete latency result: has no 'call'"),
        (("results", "rows", 0, "stages", "h2d"), "p99_ms", "fast", "not a complete latency"),
        (("results", "rows", 0, "call"), "samples_ms", None, "has no 'samples_ms'"),
        (("parity", made.VARIANT), "held", None, "has no 'held'"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_result_is_refused_before_anything_is_written(
    where: tuple[Any, ...], name: str, value: Any, said: str, tmp_path: Path
) -> None:
    result = made.latency_result()
    part: Any = result
    for key in where:
        part = part[key]
    part[name] = value
    if value is None:
        del part[name]
    done, page = report(tmp_path, result)
    assert isinstance(done.exception, DataError) and said in str(done.exception) and page == ""


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run("benchmark", "report", tmp_path / "none.json", "--out", tmp_path / "page")
    assert isinstance(done.exception, DataError) and "none.json" in str(done.exception)
    assert not (tmp_path / "page").exists()
