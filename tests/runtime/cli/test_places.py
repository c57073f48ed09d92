"""Commands where they are run: streams closed or full, an old locale, any umask, no home."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

from foveate.cli import group, main
from foveate.runtime.atomic_files import check_writable, make_temporary_folder
from foveate.runtime.auto.timing import Times, load_times, store_times
from foveate.runtime.cache import cache_folder
from foveate.runtime.cli.progress import Bar
from foveate.runtime.engines.tensorrt.plan_cache import plan_cache
from foveate.runtime.errors import EngineError


@pytest.mark.parametrize(
    ("streams", "umask", "code", "said"),
    [
        (">&- 2>&- <&-", 0o002, 0, ""),
        ("2>/dev/full", 0o027, 0, ""),
        (">/dev/full", 0o077, 2, "Error: standard output: No space left on device; written files"),
    ],
)
def test_masks_are_written_whatever_the_streams_the_umask_and_the_locale(
    streams: str, umask: int, code: int, said: str, thresholds: Path, tmp_path: Path
) -> None:
    for name in ("ä.png", "b.png"):
        data = cv2.imencode(".png", np.full((40, 60), 200, np.uint8))[1]
        (tmp_path / name).write_bytes(data.tobytes())
    line = f'umask {umask:o}; exec "$@" {streams}'
    command = [sys.executable, "-m", "foveate", "segment", thresholds, tmp_path, "--overlay"]
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        ["sh", "-c", line, "sh", *command, "--out", tmp_path / "out"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), **old},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.decode().startswith(said) and len(done.stderr) < 100
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"ä.png", "b.png", "results.jsonl", "job.json"} <= {path.name for path in written}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o666 & ~umask}
    engine_files = [path for path in (tmp_path / "home").rglob("*") if "foveate" not in path.parts]
    assert [path.name for path in engine_files if path.name != ".cache"] == []  # and no telemetry


def test_progress_without_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    bar = Bar()
    bar.update("reading", 1, 1)
    bar.log("done")


def test_a_user_without_home_and_name_has_no_cache_and_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(number: int) -> NoReturn:
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", "FOVEATE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    path = cache_folder("cpu") / "times.json"
    store_times(path, Times({"onnxruntime fp32": 1.0}))
    assert load_times(path) is None and plan_cache().entries() == []
    with pytest.raises(EngineError, match="plans cannot be kept there: .* FOVEATE_CACHE=FOLDER"):
        with plan_cache().locked():
            raise AssertionError


def test_folders_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        made = [make_temporary_folder(tmp_path) for _ in range(2)]
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in made} == {0o775}


def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(OSError, match=r"'/proc'$"):
        check_writable(Path("/proc"))


def test_without_a_temporary_folder_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(group, "main", lambda standalone_mode: tempfile.mkdtemp())
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("Error: no temporary folder can be written; TMPDIR=")
