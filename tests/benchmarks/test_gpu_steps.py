"""The steps of a GPU check: what crashes, hangs or talks nonsense costs itself alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from foveate.benchmarks.gpu import worker
from foveate.benchmarks.gpu.pytest_step import summary
from foveate.benchmarks.gpu.soak_step import growth
from foveate.benchmarks.gpu.step_runner import FAILED, PASSED, SKIPPED, Outcome, Step, StepRunner
from foveate.benchmarks.gpu.task import CheckSettings

WRITE = "import sys, pathlib; out = pathlib.Path(sys.argv[1]); "
PROGRAMS = {
    "sound": WRITE + "print('half way'); out.write_text('{\"ms\": 1}')",
    "crash": WRITE + "out.write_text('{\"ms\": 2}'); import os; os.kill(os.getpid(), 11)",
    "hang": WRITE + "out.write_text('{\"ms\": 3}'); import time; time.sleep(60)",
    "garbage": WRITE + "sys.stdout.buffer.write(b'\\x00\\xff' * 9000); out.write_text('{\"ms\": ')",
    "silent": WRITE + "sys.exit(3)",
    "mute": "pass",
    "child": WRITE + "import subprocess; out.write_text('{}'); subprocess.Popen(['sleep', '60'])",
}


def command(job: Path, results: Path) -> Sequence[str]:
    kind = json.loads(job.read_text(encoding="utf-8"))["kind"]
    return [sys.executable, "-c", PROGRAMS[kind], str(results)]


def run(tmp_path: Path, *kinds: str, budget_s: float = 60) -> list[Outcome]:
    said: list[str] = []
    runner = StepRunner(tmp_path, {}, budget_s, said.append, command)
    found = [runner.run(Step(f"a {kind}", kind, 2.0 if kind == "hang" else 20)) for kind in kinds]
    assert all(any(f"a {kind}" in line for line in said) for kind in kinds)
    return found


def test_what_goes_wrong_costs_its_own_step_alone(tmp_path: Path) -> None:
    crash, hang, garbage, silent, mute, sound = run(
        tmp_path, "crash", "hang", "garbage", "silent", "mute", "sound"
    )
    assert (crash.status, crash.reason) == (FAILED, "died of SIGSEGV")
    assert (hang.status, hang.reason) == (FAILED, "ended after 2 s without an answer")
    assert [crash.results, hang.results] == [{"ms": 2}, {"ms": 3}], "what was found is kept"
    assert garbage.status == FAILED and "its results cannot be read" in garbage.reason
    assert silent.reason == "exit status 3, without a word"
    assert mute.reason == "it wrote no results"
    assert (sound.status, sound.results, sound.reason) == (PASSED, {"ms": 1}, "")
    for outcome in (crash, hang, garbage, silent, mute, sound):
        json.dumps(outcome.as_json(), allow_nan=False)
    assert all(line.isprintable() for line in garbage.last_lines)


def test_a_process_left_behind_holds_nothing_up(tmp_path: Path) -> None:
    started = time.monotonic()
    (outcome,) = run(tmp_path, "child")
    assert outcome.status == PASSED
    assert time.monotonic() - started < 30, "it waited for the process that was left behind"


def test_what_no_longer_fits_is_skipped_and_says_so(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, "sound", budget_s=1)
    assert outcome.status == SKIPPED and outcome.reason == "no time: 1 s of 1 s were left"


def test_results_of_an_earlier_run_are_not_taken_for_this_one_s(tmp_path: Path) -> None:
    (tmp_path / "a-mute.json").write_text('{"ms": 9}')
    (outcome,) = run(tmp_path, "mute")
    assert outcome.results == {} and outcome.reason == "it wrote no results"


def test_a_worker_says_why_it_failed_in_its_last_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = CheckSettings(str(tmp_path / "none"), str(tmp_path)).as_json()
    job = {"kind": "parity", "arguments": {"set": "x", "engine": "y"}, "settings": settings}
    (tmp_path / "job").write_text(json.dumps(job))
    assert worker.main(tmp_path / "job", tmp_path / "found") == 1
    assert "wanted a folder made by make gpu-references" in capfd.readouterr().out.splitlines()[-1]
    assert json.loads((tmp_path / "found").read_text()) == {}


def test_pytest_is_summed_up_with_what_failed(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure message="m">E  it broke</failure></testcase>'
        '<testcase classname="a" name="late"><error message="m">no GPU</error></testcase>'
        '<testcase classname="a" name="left"><skipped message="not here"/></testcase>'
        "</testsuite></testsuites>"
    )
    found = summary(report)
    assert found["tests"] == 4
    assert [item["name"] for item in found["failures"]] == ["a::bad", "a::late"]
    assert found["failures"][0]["message"] == "E  it broke"
    assert found["skipped"] == [{"name": "a::left", "message": "not here"}]


def test_growth_counts_from_the_image_after_which_memory_is_settled() -> None:
    used = [(500, 100.0), (2000, 200.0), (2500, 206.0), (3000, 202.0)]
    samples = [{"images": images, "gpu_mb": mb} for images, mb in used]
    assert growth(samples, 2000, "gpu_mb") == pytest.approx(0.03)
