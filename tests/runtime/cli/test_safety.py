"""The disasters of one run: each tried, each message read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.soak.folders import (
    command,
    lines,
    spot,
    temporaries,
    timeless,
    write_spots,
    written,
)
from tests.soak.memory import watch, write_links

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, links, mounts")


def told(bundle: Path, inputs: Path, out: Path, *more: str) -> tuple[int, str]:
    """Return exit code and standard error of a run."""
    done = subprocess.run(
        command(bundle, inputs, out, *more), capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, without_progress(done.stderr)


def without_progress(errors: str) -> str:
    """Return what a run said but for its progress, which only a slow machine has time to show."""
    said = errors.splitlines(keepends=True)
    return "".join(line for line in said if not line.startswith("segmenting "))


def started(
    bundle: Path, inputs: Path, out: Path, *more: str, until: Callable[[], bool]
) -> subprocess.Popen[str]:
    """Return a run in which something has come true."""
    arguments = command(bundle, inputs, out, *more)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if until() or process.poll() is not None:
            break
        time.sleep(0.01)
    assert process.poll() is None and until()
    return process


def has_masks(out: Path, count: int = 3) -> Callable[[], bool]:
    return lambda: sum(1 for _ in out.glob("*.png")) >= count


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Images that take tens of milliseconds each."""
    folder = tmp_path / "slow"
    folder.mkdir()
    cv2.imwrite(str(folder / "0000.png"), spot(1000, np.random.default_rng(0)))
    for number in range(1, 200):
        os.link(folder / "0000.png", folder / f"{number:04d}.png")
    return folder


def test_a_long_run_takes_no_more_threads_or_files(thresholds: Path, tmp_path: Path) -> None:
    many, out = tmp_path / "in", tmp_path / "out"
    write_links(many, 2000)
    samples, code, _ = watch(command(thresholds, many, out, "--batch", "1"), out)
    early = [sample for sample in samples if 50 <= sample.images < 1000]
    late = [sample for sample in samples if 1000 <= sample.images]
    assert code == 0 and early and late
    assert max(sample.threads for sample in late) <= max(sample.threads for sample in early)
    workers = 8  # each may have an image or a mask open at the moment
    assert max(sample.files for sample in late) <= min(sample.files for sample in early) + workers


def test_two_runs_into_one_folder(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, until=has_masks(out))
    code, said = told(thresholds, slow, out)
    assert code == 2
    assert said == (
        f"Error: another run is writing into {out}; wait for it, or choose another folder\n"
    )
    process.kill()
    process.communicate()
    assert told(thresholds, slow / "0000.png", out) == (0, "")  # a dead run holds no lock


def test_sigterm_finishes_what_is_in_hand(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, until=has_masks(out))
    process.terminate()
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert (
        without_progress(errors)
        == "Terminated; what was written is kept, --resume continues from there.\n"
    )
    masks = written(out)
    assert said.startswith(f"{len(masks)} masks in ") and 3 <= len(masks) < 200
    assert {line["mask"] for line in lines(out)} == masks.keys()
    assert not temporaries(out)


def test_a_second_ctrl_c_waits_for_nobody(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, "--workers", "8", until=has_masks(out))
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)  # two signals at once are one
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith(
        "Interrupted; what was written is kept, --resume continues from there.\n"
    )
    assert "Traceback" not in errors
    assert told(thresholds, slow, out, "--resume") == (0, "")
    assert len(written(out)) == 200 and not temporaries(out)


def test_fail_fast_takes_nothing_more(thresholds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_links(folder, 600)
    (folder / "000003.png").unlink()
    (folder / "000003.png").write_text("no image")
    out = tmp_path / "out"
    code, said = told(thresholds, folder, out, "--fail-fast")
    assert code == 1 and "000003.png is not an image" in said
    assert len(written(out)) < 200
    assert len(list(lines(out))) == len(written(out))
    (folder / "000003.png").unlink()
    shutil.copy(folder / "000004.png", folder / "000003.png")
    code, said = told(thresholds, folder, out, "--fail-fast", "--resume")
    assert (code, said) == (0, "")
    assert len(written(out)) == 600 and not (out / "failures.jsonl").exists()


def test_images_that_vanish_are_listed(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, until=has_masks(out))
    shutil.rmtree(slow)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "no such file or folder" in errors
    failed, done = list(lines(out, "failures.jsonl")), list(lines(out))
    assert failed and len(failed) + len(done) == 200


def moved(out: Path) -> None:
    os.rename(out, out.with_name("moved"))


def removed(out: Path) -> None:
    while out.exists():
        shutil.rmtree(out, ignore_errors=True)


def without_its_journal(out: Path) -> None:
    (out / "results.jsonl").unlink()


@pytest.mark.parametrize("harm", [moved, removed, without_its_journal])
def test_a_folder_of_masks_that_goes_under_a_run_ends_it(
    thresholds: Path, slow: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, until=has_masks(out))
    harm(out)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, "")
    said = without_progress(errors)
    assert said.startswith(f"Error: {out}{os.sep}") and said.count("\n") == 1
    assert ".jsonl: was removed, renamed or replaced during the run" in said
    assert out.exists() == (harm is without_its_journal)  # it is not made anew


def test_a_link_in_a_circle_stops_no_other(thresholds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_links(folder, 2)
    (folder / "self").symlink_to("self")
    code, said = told(thresholds, folder, tmp_path / "out", "--recursive")
    assert code == 1 and len(written(tmp_path / "out")) == 2
    assert "self cannot be read: Too many levels of symbolic links" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(thresholds: Path, tmp_path: Path, small_disk: Path) -> None:
    write_spots(tmp_path / "in", 200, 96, seed=4)
    inputs, out = tmp_path / "in", small_disk / "out"
    code, said = told(thresholds, inputs, out, "--recursive")
    assert code == 2 and said.count("\n") == 1
    advice = "No space left on device. What is written is kept; make room, then go on with --resume"
    assert said.startswith("Error: ") and said.endswith(advice + "\n")
    there = written(out)
    assert 0 < len(there) < 200 and not temporaries(out)
    code, said = told(thresholds, inputs, out, "--recursive", "--resume")
    assert code == 2 and said.endswith(advice + "\n")
    remounted(small_disk, "ro")
    code, said = told(thresholds, inputs, out, "--recursive", "--resume")
    assert code == 2 and said.count("\n") == 1 and "Read-only file system" in said
    remounted(small_disk, "rw,size=4m")
    assert told(thresholds, inputs, out, "--recursive", "--resume") == (0, "")
    assert told(thresholds, inputs, tmp_path / "unbroken", "--recursive") == (0, "")
    assert written(out) == written(tmp_path / "unbroken")
    assert timeless(out) == timeless(tmp_path / "unbroken")
    assert there.items() <= written(out).items()


def remounted(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_names_that_no_text_holds(thresholds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["größe 日本.png", "line\nbreak.png", "quote\"'.png", os.fsdecode(b"byte\xff.png")]
    for name in names:
        cv2.imwrite(str(tmp_path / "a.png"), spot(48, np.random.default_rng(1)))
        shutil.copy(tmp_path / "a.png", folder / name)
    (folder / "bad\n.png").write_text("no image")
    out = tmp_path / "out"
    code, said = told(thresholds, folder, out)
    assert code == 1 and "bad\\n.png is not an image" in said
    assert {line["mask"] for line in lines(out)} == set(names)
    assert {path.name for path in out.glob("*.png")} == set(names)
    done = subprocess.run(
        command(thresholds, folder, out, "--resume", "--json"), capture_output=True, text=True
    )
    assert json.loads(done.stdout)["resumed"] == len(names)
