"""Standard error while a command runs: foveate's lines, not those of the libraries below it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from foveate.runtime.cli.library_messages import library_messages_dropped
from tests.bad.images import encoded, flipped, tiff_of


def test_lines_of_libraries_are_dropped_and_all_others_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = [
        b"libpng warning: iCCP: known incorrect sRGB profile\n",
        b"\x1b[1;31m2026-11-28 03:59:46.91 [E:onnxruntime:, executor.cc:677 Run] overflow\n",
        b"terminate called: libpng error: is no start\n",
        b"libpng error: bad\nlast words without an end",
    ]
    with library_messages_dropped():
        for line in lines:
            os.write(2, line)
    os.write(2, b"\nlibpng error: after it\n")
    assert capfd.readouterr().err == (
        "terminate called: libpng error: is no start\nlast words without an end\n"
        "libpng error: after it\n"
    )


def test_damaged_files_are_said_once(thresholds: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(flipped(encoded("PNG")))
    deflated = encoded("TIFF", Image.new("L", (80, 60), 7), compression="tiff_adobe_deflate")
    (tmp_path / "in" / "b.tif").write_bytes(deflated[:20] + b"\xff" * 9 + deflated[29:])
    samples = tiff_of({273: 0, 277: 5_000, 279: 256}, bytes(256))
    (tmp_path / "in" / "c.tif").write_bytes(samples)
    command = [sys.executable, "-m", "foveate", "segment", thresholds, tmp_path / "in"]
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 1
    lines = sorted(done.stderr.splitlines())
    assert [line.split(": ")[0] for line in lines[1:]] == ["failed"] * 3, done.stderr
    assert lines[0].startswith("3 failed, listed in")
