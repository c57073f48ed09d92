"""What ``auto`` takes on a CPU: records are real files, times are given, graphs are tiny."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.auto.cpu import CpuChoice, Speeds, choose_on_cpu, fastest
from foveate.runtime.auto.cpu_candidates import Candidate, cpu_candidates
from foveate.runtime.auto.other_load import OtherLoad
from foveate.runtime.auto.parity_records import EngineParity, parity_path, write_engine_parity
from foveate.runtime.auto.timing import (
    Times,
    store_times,
    times_path,
)
from foveate.runtime.auto.timing_child import idle_timer, time_in_child
from foveate.runtime.bundle.bundle import Bundle, file_sha256, open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cli.info import facts_here
from foveate.runtime.engines import registry
from foveate.runtime.engines.hardware import CpuEnvironment, Processor, cpu_environment, processor
from foveate.runtime.engines.registry import LoadSettings, engine_from_bundle
from foveate.runtime.errors import EngineError
from tests.bad import bundles
from tests.conftest import run

EPYC = Processor("EPYC", ("avx2", "avx512_vnni", "avx512_bf16"), 4)
HERE = CpuEnvironment(EPYC, {"onnxruntime": "1.32", "openvino": "2026.4"})
HELD = EngineParity("lungs", 20, 19, "PyTorch fp32", 0.004, -0.0001, True)
ORT, OV, OV_BF16 = (
    Candidate("onnxruntime", "fp32"), Candidate("openvino", "fp32"), Candidate("openvino", "bf16"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def opened(thresholds: Path) -> Bundle:
    return open_bundle(thresholds)


def with_int8(source: Path, folder: Path, held: bool) -> Bundle:
    """A bundle that also has an int8 graph, and says whether its masks held."""
    shutil.copytree(source, folder)
    shutil.copy(folder / "cascade.fp32.onnx", folder / "cascade.int8.onnx")
    row = {"held": held, "disagreement": 0.01, "how": "the graph in ONNX Runtime"}
    (folder / "parity.json").write_text(json.dumps({"precisions": {"int8": row}}))

    def edit(manifest: dict[str, object]) -> None:
        manifest["precisions"] = ["fp32", "int8"]
        files = manifest["files"]
        assert isinstance(files, dict)
        for name in ("cascade.int8.onnx", "parity.json"):
            files[name] = {"sha256": file_sha256(folder / name)}

    bundles.sign(folder, edit)
    return open_bundle(folder)


def labels(bundle: Bundle, here: CpuEnvironment = HERE) -> list[str]:
    return [item.label for item in cpu_candidates(bundle, here).allowed]


class Timer:
    """Gives times, and remembers what it was asked for."""

    def __init__(self, ms: Mapping[str, float]) -> None:
        self.ms, self.asked = ms, []  # type: ignore[var-annotated]

    def __call__(self, bundle: Bundle, candidates: Sequence[Candidate], threads: int) -> Times:
        self.asked.append(([item.label for item in candidates], threads))
        return Times({item.label: self.ms[item.label] for item in candidates}, {}, 3)


def test_fp32_is_allowed_everywhere_and_bf16_wants_a_record(opened: Bundle) -> None:
    found = cpu_candidates(opened, HERE)
    assert [item.label for item in found.allowed] == ["onnxruntime fp32", "openvino fp32"]
    line = f"foveate benchmark parity {opened.path} DATA --engines openvino --precision bf16"
    reason = f"its masks have not been measured on this processor: {line}"
    assert found.left_out == {"openvino bf16": reason}
    write_engine_parity(parity_path(opened, HERE, "openvino", "bf16"), HELD)
    assert labels(opened) == ["onnxruntime fp32", "openvino fp32", "openvino bf16"]


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, versions={**HERE.versions, "openvino": "2027.0"}),
        replace(HERE, processor=replace(EPYC, name="Xeon")),
        replace(HERE, processor=replace(EPYC, flags=(*EPYC.flags, "amx_bf16"))),
    ],
)
def test_a_record_counts_for_its_processor_and_version(
    opened: Bundle, other: CpuEnvironment
) -> None:
    write_engine_parity(parity_path(opened, HERE, "openvino", "bf16"), HELD)
    assert "openvino bf16" in labels(opened) and "openvino bf16" not in labels(opened, other)


@pytest.mark.parametrize("proof", [replace(HELD, held=False), replace(HELD, foreground_images=7)])
def test_a_record_that_does_not_hold_admits_nothing(opened: Bundle, proof: EngineParity) -> None:
    write_engine_parity(parity_path(opened, HERE, "openvino", "bf16"), proof)
    assert "differ too much: " in cpu_candidates(opened, HERE).left_out["openvino bf16"]
    write_engine_parity(parity_path(opened, HERE, "openvino", "fp32"), proof)
    assert labels(opened) == ["onnxruntime fp32"]
    path = parity_path(opened, HERE, "openvino", "bf16")
    path.write_text(path.read_text().replace('"PyTorch fp32"', '"another"'))
    reason = cpu_candidates(opened, HERE).left_out["openvino bf16"]
    assert "does not match its own parity_sha256" in reason and "measure again: " in reason


def test_what_is_not_installed_or_not_possible_is_said(opened: Bundle) -> None:
    alone = replace(HERE, versions={"onnxruntime": "1.32"})
    assert labels(opened, alone) == ["onnxruntime fp32"]
    reason = "openvino is not installed: pip install 'foveate[openvino]'"
    assert cpu_candidates(opened, alone).left_out["openvino fp32"] == reason
    old = replace(HERE, processor=replace(EPYC, flags=("avx2",)))
    assert "no bfloat16" in cpu_candidates(opened, old).left_out["openvino bf16"]
    only = choose_on_cpu(opened, "", Speeds(1), replace(HERE, versions={"openvino": "2026.4"}))
    assert only.candidate == OV and only.why == "no other engine runs it here"


def test_int8_counts_where_export_measured_it(thresholds: Path, tmp_path: Path) -> None:
    held = with_int8(thresholds, tmp_path / "held", True)
    assert labels(held) == ["onnxruntime fp32", "openvino fp32", "onnxruntime int8"]
    assert "onnxruntime int8" not in labels(with_int8(thresholds, tmp_path / "lost", False))
    write_engine_parity(parity_path(held, HERE, "openvino", "int8"), HELD)
    write_engine_parity(parity_path(held, HERE, "onnxruntime", "int8"), replace(HELD, held=False))
    assert labels(held) == ["onnxruntime fp32", "openvino fp32", "openvino int8"]


def test_openvinos_int8_is_refused_where_it_would_be_wrong(
    thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = with_int8(thresholds, tmp_path / "bundle", True)
    here = replace(HERE, processor=replace(EPYC, flags=("avx2",)))
    write_engine_parity(parity_path(opened, here, "openvino", "int8"), HELD)
    assert labels(opened, here) == ["onnxruntime fp32", "openvino fp32", "onnxruntime int8"]
    monkeypatch.setattr(registry, "processor", lambda: here.processor)
    with pytest.raises(EngineError, match="off at 16 bits on this processor, which has no VNNI"):
        engine_from_bundle(opened, "openvino", "int8", LoadSettings())


@pytest.mark.parametrize(
    ("openvino", "bf16", "taken"),
    [
        (100.0, 100.0, ORT), (91.0, 91.0, ORT), (90.0, 89.0, OV), (95.0, 89.0, OV_BF16),
        (60.0, 55.0, OV), (60.0, 50.0, OV_BF16), (200.0, 30.0, OV_BF16),
    ],
)  # fmt: skip
def test_a_near_tie_goes_to_the_more_exact_one(
    openvino: float, bf16: float, taken: Candidate
) -> None:
    times = Times({ORT.label: 100.0, OV.label: openvino, OV_BF16.label: bf16})
    assert fastest((ORT, OV, OV_BF16), times) == taken


def test_what_was_not_timed_is_passed_over() -> None:
    assert fastest((ORT, OV), Times({OV.label: 9.0}, {ORT.label: "broken"})) == OV
    assert fastest((ORT, OV), Times({})) == ORT


def test_it_is_timed_once_for_each_number_of_threads(opened: Bundle) -> None:
    timer = Timer({ORT.label: 100.0, OV.label: 50.0})

    def chosen(speeds: Speeds, here: CpuEnvironment = HERE) -> CpuChoice:
        return choose_on_cpu(opened, "", speeds, here)

    untimed = chosen(Speeds(2))
    assert untimed.candidate == ORT
    assert "openvino fp32 may be faster here; run once" in untimed.why
    assert untimed.why.endswith(f"foveate info {opened.path}")
    first = chosen(Speeds(2, timer))
    assert first.candidate == OV and first.ms == {ORT.label: 100.0, OV.label: 50.0}
    assert first.why == (
        "timed on this machine, 1024x1024, 2 threads: "
        "onnxruntime fp32 100.0 ms, openvino fp32 50.0 ms (0.50)"
    )
    assert chosen(Speeds(2, timer)) == chosen(Speeds(2)) == first
    assert timer.asked == [([ORT.label, OV.label], 2)]
    chosen(Speeds(1, timer))
    newer = replace(HERE, versions={**HERE.versions, "onnxruntime": "1.33"})
    chosen(Speeds(2, timer), newer)
    assert len(timer.asked) == 3
    assert chosen(Speeds(2, many_machines=True)).candidate == ORT


@pytest.mark.parametrize("change", [('": 50.0', '": 500.0'), ("{", "")])
def test_damaged_times_are_measured_anew(
    opened: Bundle, change: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    timer = Timer({ORT.label: 100.0, OV.label: 50.0})
    choose_on_cpu(opened, "", Speeds(2, timer), HERE)
    path = times_path(opened, HERE, (ORT, OV), 2)
    path.write_text(path.read_text().replace(*change))
    with caplog.at_level(logging.DEBUG):
        assert choose_on_cpu(opened, "", Speeds(2, timer), HERE).candidate == OV
    assert len(timer.asked) == 2 and "measured anew: " in caplog.text
    assert choose_on_cpu(opened, "", Speeds(2), HERE).candidate == OV


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights of another system")
def test_times_that_cannot_be_kept_stop_nothing(opened: Bundle, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    timer = Timer({ORT.label: 100.0, OV.label: 50.0})
    assert choose_on_cpu(opened, "", Speeds(2, timer), HERE).candidate == OV


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="no load average on this system")
def test_a_busy_machine_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.cpu_count() or 1
    monkeypatch.setattr(os, "getloadavg", lambda: (cores + 0.1, 0.0, 0.0))
    assert idle_timer() is None
    monkeypatch.setattr(os, "getloadavg", lambda: (float(cores), 9.0, 9.0))
    assert idle_timer() is time_in_child


def test_the_cascade_and_segment_go_by_the_times_kept(thresholds: Path, tmp_path: Path) -> None:
    pytest.importorskip("foveate.runtime.engines.openvino_import")
    opened = with_int8(thresholds, tmp_path / "bundle", False)
    here, bundle = cpu_environment(), opened.path
    images = tmp_path / "in"
    images.mkdir()
    for number in range(2):
        cv2.imwrite(str(images / f"{number}.png"), np.full((40, 50), 200 * number, np.uint8))
    arguments = ("segment", bundle, images, "--out", tmp_path / "out", "--json")
    before = json.loads(run(*arguments).output)
    assert before["engine"] == "onnxruntime" and "may be faster here" in before["why"]
    for threads in {1, here.processor.cores}:
        path = times_path(opened, here, (ORT, OV), threads)
        store_times(path, Times({ORT.label: 100.0, OV.label: 50.0}, {}, 3))
    with Cascade.load(bundle) as cascade:
        assert cascade.choice.label == "openvino fp32" and "(0.50)" in cascade.choice.why
        assert cascade(np.zeros((40, 50), np.uint8)).engine == "openvino fp32"
    with Cascade.load(bundle, "onnxruntime") as cascade:
        assert cascade.choice.label == "onnxruntime fp32"
    said = run("info", bundle).output
    assert "auto: openvino fp32; timed on this machine, 1024x1024" in said
    assert "auto without openvino bf16: " in said
    resumed = json.loads(run(*arguments, "--resume").output)
    assert resumed["engine"] == "onnxruntime" and resumed["resumed"] == 2
    assert resumed["why"] == "the run being resumed used it"
    after = json.loads(run(*arguments).output)
    assert after["engines"] == {"openvino fp32": 2}
    assert after["engine_ms"] == {ORT.label: 100.0, OV.label: 50.0}
    share = json.loads(run(*arguments, "--out", tmp_path / "share", "--shard", "1/1").output)
    assert share["engine"] == "onnxruntime" and "several machines" in share["why"]
    assert "engine openvino fp32: timed on this machine" in run(*arguments[:-1]).output


def test_the_processor_is_read_from_the_system(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nmodel name : Some CPU\nflags : fpu avx2 avx512_vnni\n\nx : y\n")
    found = processor(file)
    assert (found.name, found.flags) == ("Some CPU", ("avx2", "avx512_vnni"))
    assert found.exact_int8 and found.lacks_bf16
    unknown = processor(tmp_path / "none")
    assert unknown.name and not unknown.exact_int8 and not unknown.lacks_bf16


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="no load average on this system")
def test_segment_times_the_engines_for_many_images(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("foveate.runtime.engines.openvino_import")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # so it is timed in this process
    monkeypatch.setattr(OtherLoad, "cores", lambda self: 1.5)
    assert "other processes held 1.5 cores" in facts_here(opened)["auto"]
    path = times_path(opened, cpu_environment(), (ORT, OV), 1)
    assert not path.is_file()
    monkeypatch.setattr(OtherLoad, "cores", lambda self: 0.0)
    (tmp_path / "in").mkdir()
    for number in range(64):
        cv2.imwrite(str(tmp_path / f"in/{number}.png"), np.zeros((8, 8), np.uint8))
    arguments = ("segment", opened.path, tmp_path / "in", "--out", tmp_path / "out", "--json")
    first, second = (json.loads(run(*arguments).output) for _ in range(2))
    assert set(first["engine_ms"]) == {ORT.label, OV.label} and first["written"] == 64
    assert path.is_file()
    assert second["engine_ms"] == first["engine_ms"] and second["engine"] == first["engine"]
