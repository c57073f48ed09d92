"""``foveate segment --ray``: the same as without it, also when an actor is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.conftest import run
from tests.soak.folders import lines, timeless, written

if sys.platform == "win32":
    pytest.skip("Ray here is for Linux and macOS", allow_module_level=True)
if find_spec("ray") is None:  # not imported here: that takes seconds
    pytest.skip("Ray is not installed", allow_module_level=True)

LARGE = 1500
"""A side that keeps an actor busy for a while; the others are of 96 pixels."""
CLUSTER = """
import ray, sys
own = ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="CRITICAL")
print("at", own.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # ports on 127.0.0.1 alone
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray on this machine that is not a run's own."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    with process:
        assert process.stdout is not None
        address = next(line.split()[1] for line in process.stdout if line.startswith("at "))
        yield address
        process.communicate()


def images(folder: Path, count: int, large: int = 0) -> Path:
    """Write noisy discs; the first so many in every ten are large."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(count):
        side = LARGE if index % 10 < large else 96
        image = np.full((side, side), 40, np.uint8)
        centre = [int(value) for value in random.integers(side // 4, 3 * side // 4, 2)]
        cv2.circle(image, centre, side // 6, 200, -1)
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)
    return folder


def command(bundle: Path, *more: object) -> list[str]:
    arguments = [str(argument) for argument in (bundle, *more)]
    return [sys.executable, "-m", "foveate", "segment", *arguments, "--json"]


def on_ray(bundle: Path, cwd: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(bundle, *more), capture_output=True, text=True, cwd=cwd, check=False, timeout=120,
        env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip


def same_journals(one: Path, two: Path) -> bool:
    failures = [sorted(map(str, lines(out, "failures.jsonl"))) for out in (one, two)]
    return timeless(one) == timeless(two) and failures[0] == failures[1]


def actors_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The actors that are at work."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::MapWorker"):
                found.append(child)
        except psutil.Error:
            continue
    return found


def kill_one_actor(process: subprocess.Popen[str], out: Path) -> int:
    """Kill an actor once there is a mask; return how many masks there are then."""
    while not any(path.is_file() for path in out.glob("*.png")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    actors = actors_of(process)
    assert len(actors) == 2
    actors[0].kill()
    return len(list(out.glob("*.png")))


def test_a_killed_actor_changes_nothing(thresholds: Path, tmp_path: Path) -> None:
    folder = images(tmp_path / "in", 30, large=2)
    (folder / "007.png").write_bytes(b"no image")
    local, out = tmp_path / "local", tmp_path / "ray"
    for place in (local, out):
        (place / "003.png").mkdir(parents=True)  # so the mask cannot be written
    run("segment", thresholds, folder, "--out", local, "--overlay")
    process = subprocess.Popen(
        command(thresholds, folder, "--out", out, "--overlay", "--workers", 2, "--ray"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    there = kill_one_actor(process, out)
    output, errors = process.communicate()
    assert process.returncode == 1, errors
    summary = json.loads(output)
    assert there < 28 and summary["written"] == 28 and summary["plan"]["actors"] == 2
    assert "ray" not in errors.replace(str(out), "").lower()
    assert same_journals(out, local) and len(list(lines(out, "failures.jsonl"))) == 2
    assert len(written(out)) >= 2 * 28 and written(out) == written(local)


@pytest.mark.slow
def test_resume_fail_fast_and_errors_of_a_cluster_are_those_of_a_local_run(
    bundle: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative: the lines hold them as they are given."""
    monkeypatch.chdir(tmp_path)
    folder = images(tmp_path / "in", 20)
    broken, local, out = folder / "007.png", tmp_path / "local", tmp_path / "ray"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    ray = ["in", "--out", "ray", "--ray", cluster]
    run("segment", bundle, "in", "--out", "local")
    assert on_ray(bundle, tmp_path, *ray).returncode == 1
    broken.write_bytes(whole)
    run("segment", bundle, "in", "--out", "local", "--resume")
    done = on_ray(bundle, tmp_path, *ray, "--resume")
    assert done.returncode == 0 and json.loads(done.stdout)["resumed"] == 19, done.stderr
    assert same_journals(out, local)
    assert written(out) == written(local) and not (out / "failures.jsonl").exists()

    done = on_ray(bundle, tmp_path, *ray, "--precision", "fp16", "--engine", "onnxruntime")
    said = run("segment", bundle, "in", "--out", "x", "--precision", "fp16")
    assert done.returncode == 2 and done.stderr == f"Error: {said.exception}\n"

    many = images(tmp_path / "many", 300)
    for index in range(20):
        (many / f"{index:03d}.png").write_bytes(b"no image")
    done = on_ray(bundle, tmp_path, "many", *ray[1:], "--fail-fast")
    assert done.returncode == 1 and list(lines(out, "failures.jsonl")), done.stderr
    assert json.loads(done.stdout)["written"] < 280
