"""The tables of README.md and docs/results.md: rows, marks, and what must not get into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foveate.benchmarks.report.model_results import read_file
from foveate.benchmarks.schema.result_files import write_result
from foveate.benchmarks.scripts.readme_table import (
    BEGIN,
    END,
    block,
    main,
    readme_table,
    with_table,
)
from foveate.runtime.errors import DataError
from tests.benchmarks import benchmark_results as made

TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"


def write(folder: Path, result: dict[str, Any]) -> Path:
    write_result(folder / "compare.json", result)
    return folder / "compare.json"


def test_the_table_has_every_method_fastest_first(tmp_path: Path) -> None:
    result = made.compare_result()
    lines = readme_table([read_file(write(tmp_path, result))]).splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:6]]
    assert names == [
        "ONNX Runtime by hand", "**foveate**", "PyTorch eager", "one U-Net at full size",
    ]  # fmt: skip
    ratio = result["results"]["methods"][1]["ratio"]
    shown = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
    time = f"{result['results']['methods'][1]['ms']['median_ms']:.1f}"
    assert lines[4] == f"| PyTorch eager | {time} | {shown} | 0.9135 | 0.00020 |"
    assert lines[5].endswith("| 0.9188 | not measured |")
    assert lines[-1] == "Not measured: OpenVINO: is not installed"
    for part in ("A Processor 9000", "2025-05-04", "foveate 0.1.0", "compare.json"):
        assert part in lines[-3]


def test_the_short_table_has_ours_the_fastest_other_and_the_single_networks(tmp_path: Path) -> None:
    result = made.compare_result()
    eager, faster, single, missing = result["results"]["methods"][1:]
    single["key"], missing["key"] = "e", "f"
    quick = {**faster, "key": "foveate openvino bf16", "name": "foveate, quick"}
    slow = {**eager, "key": "foveate openvino int8", "name": "foveate, slow"}
    result["results"]["methods"] += [quick, slow]
    lines = readme_table([read_file(write(tmp_path, result))], short=True).splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]
    assert names == [faster["name"], "foveate, quick", "**foveate**", single["name"]]
    assert lines[-1] == "Not measured: OpenVINO: is not installed"


def test_the_command_replaces_what_stands_between_the_marks(tmp_path: Path) -> None:
    readme, path = tmp_path / "README.md", write(tmp_path, made.compare_result())
    readme.write_text(TEXT, encoding="utf-8")
    assert main([str(readme), str(path)]) == 0
    written = readme.read_text(encoding="utf-8")
    assert block(written) == readme_table([read_file(path)])
    assert written.startswith("# Title\n\n") and written.endswith("\n\nThe end.\n")
    assert "old" not in written
    assert main([str(readme), str(path)]) == 0
    assert readme.read_text(encoding="utf-8") == written
    assert main(["--short", str(readme), str(path)]) == 0
    assert block(readme.read_text(encoding="utf-8")) == readme_table([read_file(path)], short=True)


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END} {BEGIN}", f"{TEXT}{TEXT}"])
def test_marks_must_be_there_once_and_in_order(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="each once"):
        with_table(text, "new")
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    assert main([str(readme), str(write(tmp_path, made.compare_result()))]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert readme.read_text(encoding="utf-8") == text


def test_what_contradicts_itself_gets_into_no_readme(tmp_path: Path) -> None:
    result = made.compare_result()
    result["parity"][made.VARIANT].update(held=False)
    with pytest.raises(DataError, match="contradicts itself"):
        readme_table([read_file(write(tmp_path, result))])


def test_a_result_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a latency result"):
        readme_table([read_file(write(tmp_path, made.latency_result()))])


def test_the_command_without_files_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--short", "README.md"]) == 2 and "Usage:" in capsys.readouterr().err
