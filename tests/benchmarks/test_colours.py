"""A bundle for rgb images, in all precisions of a CPU, through every measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveate.benchmarks.measure import cold_start
from foveate.runtime import agreement
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from tests.conftest import run, train

CPU = ("--threads", "1", "--engines", "onnxruntime", "--precision", "fp32,int8")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a data set of rgb phantoms, and a bundle trained on it with fp32, fp16 and int8."""
    folder = tmp_path_factory.mktemp("colours")
    data, out = folder / "data", folder / "rgb.bundle"
    list(write_phantoms(data, PhantomSettings(12, 160, seed=3, bits=8, channels="rgb")))
    more = ("num_epochs=2", "channels=rgb", "class_names=lesion")
    result = train(data, folder / "run", *(word for item in more for word in ("--set", item)))
    assert result.exception is None, result.output
    with pytest.MonkeyPatch.context() as patch:  # two epochs change masks for little
        patch.setitem(agreement.BOUNDS, "int8", (2.0, 2.0))
        patch.setitem(agreement.BOUNDS, "fp16", (2.0, 2.0))
        result = run("export", folder / "run", "--out", out, "--precision", "fp32,fp16,int8")
    assert result.exception is None, result.exception
    return data, out


def test_int8_is_calibrated_on_colours_and_parity_holds(colours: tuple[Path, Path]) -> None:
    data, bundle = colours
    record = json.loads((bundle / "parity.json").read_text())["precisions"]
    assert record["int8"]["calibration"]["images"] > 0
    options = ("--engines", "onnxruntime,openvino", "--precision", "fp32", "--json")
    for given in ((), (data,)):
        found = json.loads(run("benchmark", "parity", bundle, *given, *options).stdout)
        for variant in ("onnxruntime fp32", "openvino fp32"):
            assert found["parity"][variant]["held"], found["parity"]


def test_latency_counts_files_and_fresh_processes(
    colours: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_start, "RUNS", 1)
    options = ("--size", "256", "--count", "2", "--runs", "4", *CPU, "--json")
    result = run("benchmark", "latency", colours[1], *options)
    assert result.exception is None, result.output
    rows = json.loads(result.stdout)["results"]["rows"]
    assert [(row["height"], row["width"]) for row in rows] == [(256, 256)] * 2


@pytest.mark.slow
def test_throughput_compare_pareto_and_evaluate(colours: tuple[Path, Path]) -> None:
    data, bundle = colours
    quick = ("--size", "256", "--count", "2", "--seconds", "0.2", "--engines", "onnxruntime")
    for command in (
        ("benchmark", "throughput", bundle, *quick, "--precision", "fp32"),
        ("benchmark", "pareto", bundle, "--data", data, *CPU),
        ("evaluate", bundle, data),
        ("benchmark", "compare", bundle, data, "--rounds", "12", "--threads", "1"),
    ):
        result = run(*command)
        assert result.exception is None, (command, result.output)
