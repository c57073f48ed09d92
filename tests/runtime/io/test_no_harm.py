"""Full disks, kills and second runs: nothing half-written, read back or overwritten."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.io.images import image_paths, read_image
from tests.conftest import run

resource = pytest.importorskip("resource")  # POSIX only


def noise(folder: Path, count: int, side: int) -> None:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side)).astype(np.uint8)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03d}.png"), pixels)


def segment(bundle: Path, inputs: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "foveate", "segment", str(bundle), str(inputs), "--out", str(out)]


def no_large_files() -> None:
    """Let writes fail beyond 40 bytes, as on a full disk, instead of ending the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))


def test_a_full_disk_leaves_no_half_mask(bundle: Path, tmp_path: Path) -> None:
    noise(tmp_path / "in", 2, 600)
    out = tmp_path / "out"
    done = subprocess.run(
        segment(bundle, tmp_path / "in", out), capture_output=True, text=True,
        preexec_fn=no_large_files,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "File too large" in done.stderr
    assert not list(out.glob("*.png")) and not list(out.glob(".foveate-*"))
    assert done.returncode in (1, 2)


def test_a_kill_leaves_no_half_mask(bundle: Path, tmp_path: Path) -> None:
    noise(tmp_path / "in", 60, 1200)
    out = tmp_path / "out"
    process = subprocess.Popen(segment(bundle, tmp_path / "in", out), stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if len(list(out.glob("*.png"))) >= 3:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    masks = list(out.glob("*.png"))
    assert 3 <= len(masks) < 60
    for mask in masks:
        assert read_image(mask).shape == (1200, 1200)


def without_powers() -> None:
    """Take from root the right to read and write everything (CAP_DAC_OVERRIDE, _READ_SEARCH)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_what_the_system_forbids_is_named(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(data / "images", tmp_path / "in"))
    image_paths(folder)[0].chmod(0)
    out = tmp_path / "out"

    def forbidden(inputs: Path, to: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [*segment(bundle, inputs, to), *more]
        return subprocess.run(command, capture_output=True, text=True, preexec_fn=without_powers)

    done = forbidden(folder, out)
    assert done.returncode == 1 and "no permission to read it" in done.stderr
    assert len(list(out.glob("*.png"))) == len(image_paths(folder)) - 1
    out.chmod(0o500)
    done = forbidden(folder, out / "more")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and done.stderr.endswith("more: Permission denied\n")
    done = forbidden(folder, out)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    tree = tmp_path / "tree"
    shutil.copytree(data / "images", tree / "sub")
    shutil.copytree(tree / "sub", tree / "shut")
    (tree / "shut").chmod(0)
    done = forbidden(tree, tmp_path / "mirrored", "--recursive")
    assert done.returncode == 1 and "shut is a folder that you have no permission" in done.stderr
    assert len(list((tmp_path / "mirrored").rglob("*.png"))) == len(image_paths(tree / "sub"))
    folder.chmod(0)
    done = forbidden(folder, tmp_path / "other")
    assert (
        done.returncode == 1 and "in is a folder that you have no permission to list" in done.stderr
    )
    (tree / "shut").chmod(0o700)
    folder.chmod(0o700)
    out.chmod(0o700)


def test_a_second_run_does_not_read_its_own_masks(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "scans"
    shutil.copytree(data / "images", folder)
    arguments = ("segment", bundle, f"{tmp_path}/in/**/*.*", "--out", tmp_path / "in" / "masks")
    for _ in range(2):
        result = run(*arguments, "--overlay")
        assert result.return_value == 0, result.output
        assert result.output.startswith("12 masks")


def test_odd_names_and_one_stem(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["two words.png", "größe.png", "line\nbreak.png", "a.png", "a.bmp"]
    source = image_paths(data / "images")[0]
    for name in names:
        shutil.copy(source, folder / name)
    assert run("segment", bundle, folder, "--out", tmp_path / "out").return_value == 0
    found = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert found == {"two words.png", "größe.png", "line\nbreak.png", "a.png.png", "a.bmp.png"}


@pytest.mark.parametrize("size", [(1, 1), (1, 31), (31, 1), (3, 20_000)])
def test_odd_sizes_have_masks_of_their_size(
    bundle: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.new("L", size, 90).save(tmp_path / "a.png")
    assert run("segment", bundle, tmp_path / "a.png", "--out", tmp_path / "out").return_value == 0
    with Image.open(tmp_path / "out" / "a.png") as mask:
        assert mask.size == size
