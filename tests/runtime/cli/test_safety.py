"""The disasters of one run: each tried, each message read."""

from __future__ import annotations

import ctypes
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
import psutil
import pytest

from foveate.runtime.errors import OutputError
from foveate.runtime.segment.pipeline import Progress
from foveate.runtime.segment.run import Request, segment_run
from foveate.runtime.segment.run_lock import locked
from tests.conftest import run
from tests.soak.folders import (
    command,
    lines,
    spot,
    temporaries,
    timeless,
    write_spots,
    written,
)
from tests.soak.memory import write_links

resource = pytest.importorskip("resource")  # POSIX only: signals, links, mounts
KEPT = "what was written is kept, --resume continues from there.\n"


def told(bundle: Path, inputs: Path, out: Path, *more: str) -> tuple[int, str]:
    """Return exit code and error of a run in this process."""
    result = run("segment", bundle, inputs, "--out", out, *more)
    if result.exception is not None:
        return 2, str(result.exception)
    return result.return_value, result.stderr


def has_masks(out: Path, count: int = 3) -> bool:
    return sum(1 for _ in out.glob("*.png")) >= count


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Images that take ten milliseconds each."""
    folder = tmp_path / "slow"
    folder.mkdir()
    cv2.imwrite(str(folder / "0000.png"), spot(700, np.random.default_rng(0)))
    for number in range(1, 100):
        os.link(folder / "0000.png", folder / f"{number:04d}.png")
    return folder


def started(bundle: Path, inputs: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Return a run in a process of its own that has written masks."""
    arguments = command(bundle, inputs, out, *more)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if has_masks(out) or process.poll() is not None:
            break
        time.sleep(0.01)
    assert process.poll() is None and has_masks(out)
    return process


def test_sigterm_finishes_what_is_in_flight(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out)
    process.terminate()
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and errors.endswith(f"Terminated; {KEPT}")
    masks = written(out)
    assert said.startswith(f"{len(masks)} masks in ") and 3 <= len(masks) < 100
    assert {line["mask"] for line in lines(out)} == masks.keys()
    assert not temporaries(out)


def test_a_second_ctrl_c_does_not_wait(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(thresholds, slow, out, "--workers", "8")
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)  # two signals at once are one
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.endswith(f"Interrupted; {KEPT}")
    assert "Traceback" not in errors and len(written(out)) < 100
    assert told(thresholds, slow, out, "--resume") == (0, "")
    assert len(written(out)) == 100 and not temporaries(out)


def test_a_long_run_takes_no_more_threads_or_files(thresholds: Path, tmp_path: Path) -> None:
    write_links(tmp_path / "in", 600)
    process, held = psutil.Process(), []

    def sample(progress: Progress) -> None:
        held.append((process.num_threads(), process.num_fds()))

    request = Request(thresholds, [str(tmp_path / "in")], tmp_path / "out", workers=2, batch=1)
    segment_run(request, sample)
    threads, files = zip(*held, strict=True)
    assert len(held) > 600 and max(threads[300:]) <= max(threads[50:300])
    assert max(files[300:]) <= min(files[50:300]) + 4  # each worker may have two files open


def test_two_runs_into_one_folder(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out):
        assert told(thresholds, slow, out) == (
            2, f"another run is writing into {out}; wait for it, or choose another folder"
        )  # fmt: skip
    assert told(thresholds, slow / "0000.png", out) == (0, "")


def test_fail_fast_takes_nothing_more(thresholds: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_links(folder, 100)
    (folder / "000003.png").unlink()
    (folder / "000003.png").write_text("no image")
    code, said = told(thresholds, folder, out, "--fail-fast", "--workers", "2")
    assert code == 1 and "000003.png: is not an image" in said
    assert len(written(out)) < 50 and len(list(lines(out))) == len(written(out))
    shutil.copy(folder / "000004.png", folder / "000003.png")
    assert told(thresholds, folder, out, "--fail-fast", "--resume") == (0, "")
    assert len(written(out)) == 100 and not (out / "failures.jsonl").exists()


def harmed(bundle: Path, inputs: Path, out: Path, harm: Callable[[Path], object]) -> None:
    """Segment, and do some harm after the third image."""

    def progress(seen: Progress) -> None:
        if seen.done == 3:
            harm(out)

    segment_run(Request(bundle, [str(inputs)], out, workers=1, batch=1), progress)


def test_images_that_vanish_are_listed(thresholds: Path, slow: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    harmed(thresholds, slow, out, lambda out: shutil.rmtree(slow))
    failed, done = list(lines(out, "failures.jsonl")), list(lines(out))
    assert {line["reason"] for line in failed} == {"no such file or folder"}
    assert 3 <= len(done) <= 5 and len(failed) + len(done) == 100


def without_its_journal(out: Path) -> None:
    (out / "results.jsonl").unlink()


HARMS = [lambda out: out.rename(out.with_name("moved")), shutil.rmtree, without_its_journal]


@pytest.mark.parametrize("harm", HARMS, ids=["moved", "removed", "without journal"])
def test_a_folder_of_masks_that_goes_under_a_run_ends_it(
    thresholds: Path, slow: Path, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="jsonl: was removed, renamed or replaced during the run"):
        harmed(thresholds, slow, out, harm)
    assert out.exists() == (harm is without_its_journal)  # it is not made anew


def test_a_link_in_a_circle_stops_no_other(thresholds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_links(folder, 2)
    (folder / "self").symlink_to("self")
    code, said = told(thresholds, folder, tmp_path / "out", "--recursive")
    assert code == 1 and len(written(tmp_path / "out")) == 2
    assert "self: cannot be read: Too many levels of symbolic links" in said


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
    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(small_disk)], check=True)

    write_spots(tmp_path / "in", 200, 96, seed=4)
    inputs, out, options = tmp_path / "in", small_disk / "out", ("--recursive", "--resume")
    advice = "What is written is kept; make room, then continue with --resume"
    for _ in range(2):
        code, said = told(thresholds, inputs, out, *options)
        assert code == 2 and said.endswith(advice)
        there = written(out)
        assert 0 < len(there) < 200 and not temporaries(out)
    remount("ro")
    code, said = told(thresholds, inputs, out, *options)
    assert code == 2 and "Read-only file system" in said
    remount("rw,size=4m")
    assert told(thresholds, inputs, out, *options) == (0, "")
    assert told(thresholds, inputs, tmp_path / "unbroken", *options) == (0, "")
    assert written(out) == written(tmp_path / "unbroken")
    assert timeless(out) == timeless(tmp_path / "unbroken")
    assert there.items() <= written(out).items()


def no_large_files() -> None:
    """Let writes fail beyond 40 bytes, as on a full disk, instead of ending the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))


def test_a_write_that_fails_leaves_no_half_mask(
    thresholds: Path, slow: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = command(thresholds, slow / "0000.png", out)
    done = subprocess.run(arguments, capture_output=True, text=True, preexec_fn=no_large_files)
    assert "Traceback" not in done.stderr and "File too large" in done.stderr
    assert done.returncode in (1, 2) and not written(out) and not temporaries(out)


def without_powers() -> None:
    """Take from root the right to read and write everything (CAP_DAC_OVERRIDE, _READ_SEARCH)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_what_the_system_forbids_is_named(thresholds: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_links(folder, 3)
    shutil.copytree(folder, folder / "shut")
    (folder / "000000.png").chmod(0)
    (folder / "shut").chmod(0)

    def forbidden(to: Path) -> subprocess.CompletedProcess[str]:
        arguments = command(thresholds, folder, to, "--recursive")
        return subprocess.run(
            arguments, capture_output=True, text=True, preexec_fn=without_powers, check=False
        )

    done = forbidden(out)
    assert done.returncode == 1 and "no permission to read it" in done.stderr
    assert "shut: is a folder that you have no permission" in done.stderr
    assert len(written(out)) == 2
    out.chmod(0o500)
    done = forbidden(out / "more")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and done.stderr.endswith("more: Permission denied\n")
    (folder / "shut").chmod(0o700)
    out.chmod(0o700)


def test_names_that_no_text_holds(thresholds: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = ["größe 日本.png", "line\nbreak.png", "quote\"'.png", os.fsdecode(b"byte\xff.png")]
    cv2.imwrite(str(tmp_path / "a.png"), spot(48, np.random.default_rng(1)))
    for name in names:
        shutil.copy(tmp_path / "a.png", folder / name)
    (folder / "bad\n.png").write_text("no image")
    code, said = told(thresholds, folder, out)
    assert code == 1 and "bad\\n.png: is not an image" in said
    assert {line["mask"] for line in lines(out)} == set(names)
    assert {path.name for path in out.glob("*.png")} == set(names)
    done = run("segment", thresholds, folder, "--out", out, "--resume", "--json")
    assert json.loads(done.stdout)["resumed"] == len(names)
