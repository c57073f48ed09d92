"""The journal and what --resume makes of it: every way a line or a file can have gone wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.errors import SettingsError
from foveate.runtime.segment.journal import Journal, Writer
from tests.conftest import DEMO, run
from tests.soak.folders import lines, temporaries, timeless, write_spots, written

IMAGES = 6


@pytest.fixture(scope="module")
def begun(thresholds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``in`` and its masks in ``out``."""
    root = tmp_path_factory.mktemp("begun")
    write_spots(root / "in", IMAGES, 48, seed=1)
    assert segment(root, thresholds).return_value == 0
    return root


@pytest.fixture
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with the times of the images; paths are relative to it."""
    shutil.copytree(begun, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


def segment(root: Path, bundle: Path, *more: str):  # type: ignore[no-untyped-def]
    before = Path.cwd()
    os.chdir(root)
    try:
        return run("segment", bundle, "in", "--recursive", "--out", "out", *more)
    finally:
        os.chdir(before)


def resumed(place: Path, bundle: Path, done: int) -> None:
    """Resume; ``done`` images count as done before, and in the end all is as it was."""
    expected = segment(place, bundle, "--resume", "--json")
    summary = json.loads(expected.output)
    assert (summary["resumed"], summary["written"]) == (done, IMAGES - done)


@pytest.mark.parametrize("harm", ["gone", "changed", "empty", "folder"])
def test_a_mask_that_is_not_as_written_is_made_again(
    place: Path, thresholds: Path, harm: str
) -> None:
    mask = place / "out" / "00000.png"
    sound = mask.read_bytes()
    if harm == "changed":
        mask.write_bytes(sound[:-1] + b"\0")
    else:
        mask.unlink()
        if harm == "empty":
            mask.touch()
    if harm == "folder":
        mask.mkdir()
        result = segment(place, thresholds, "--resume")
        assert result.return_value == 1 and "mask not written: Is a directory" in result.output
        return
    resumed(place, thresholds, IMAGES - 1)
    assert mask.read_bytes() == sound


def test_a_companion_counts_as_the_mask_does(place: Path, thresholds: Path) -> None:
    shutil.rmtree(place / "out")
    assert segment(place, thresholds, "--overlay").return_value == 0
    (place / "out" / "overlays" / "00000.jpg").unlink()
    result = segment(place, thresholds, "--overlay", "--resume", "--json")
    assert json.loads(result.output)["resumed"] == IMAGES - 1
    assert (place / "out" / "overlays" / "00000.jpg").exists()


def test_an_image_that_changed_is_done_again(place: Path, thresholds: Path) -> None:
    image = place / "in" / "00000.png"
    old = (place / "out" / "00000.png").read_bytes()
    cv2.imwrite(str(image), np.full((48, 48), 255, np.uint8))
    os.utime(place / "in" / "more" / "00001.png")  # same content, another time
    resumed(place, thresholds, IMAGES - 2)
    assert (place / "out" / "00000.png").read_bytes() != old


def test_new_images_are_done_and_old_ones_kept(place: Path, thresholds: Path) -> None:
    shutil.copy(place / "in" / "00000.png", place / "in" / "new.png")
    result = segment(place, thresholds, "--resume", "--json")
    summary = json.loads(result.output)
    assert (summary["resumed"], summary["written"]) == (IMAGES, 1)
    assert len(list(lines(place / "out"))) == IMAGES + 1


@pytest.mark.parametrize("tail", [b'{"input": "in/0', b"\0\0\0\0", b"}", b"\xff\xfe\n", b"[1]\n",
                                  b'{"input": "in/00000.png", "page": "x"}\n', b"\n\n",
                                  b'{"page": 0}\n', b"[" * 100_000 + b"\n",
                                  b'{"input": "in/new.png", "page": 0, "files": {"\\u0000": ""}}\n',
                                  ])  # fmt: skip
def test_a_torn_or_foreign_line_is_dropped(place: Path, thresholds: Path, tail: bytes) -> None:
    results = place / "out" / "results.jsonl"
    before = timeless(place / "out")
    with results.open("ab") as file:
        file.write(tail)
    resumed(place, thresholds, IMAGES)
    assert timeless(place / "out") == before


def test_lines_of_images_that_are_not_named_stay(place: Path, thresholds: Path) -> None:
    """But not that of an image whose mask is gone."""
    (place / "out" / "00002.png").unlink()
    shutil.move(place / "in" / "00000.png", place / "new.png")
    done = run("segment", thresholds, "new.png", "--out", "out", "--resume", "--json")
    summary = json.loads(done.output)
    assert (summary["written"], summary["resumed"]) == (1, 0)
    named = {line["input"] for line in lines(place / "out")}
    assert "new.png" in named and "in/00000.png" in named and "in/00002.png" not in named


def test_a_torn_line_costs_its_own_image_alone(place: Path, thresholds: Path) -> None:
    results = place / "out" / "results.jsonl"
    before, masks = timeless(place / "out"), written(place / "out")
    results.write_bytes(results.read_bytes()[:-20])
    resumed(place, thresholds, IMAGES - 1)
    assert timeless(place / "out") == before and written(place / "out") == masks


def test_without_a_job_everything_is_done_afresh_and_has_its_line(
    place: Path, thresholds: Path
) -> None:
    (place / "out" / "job.json").unlink()
    resumed(place, thresholds, 0)
    assert len(list(lines(place / "out"))) == IMAGES


@pytest.mark.parametrize("text", ["", "[]", "{", '{"bundle": 5}', '{"bundle": "x"}'])
def test_a_job_that_is_none_is_refused(place: Path, thresholds: Path, text: str) -> None:
    (place / "out" / "job.json").write_text(text)
    result = segment(place, thresholds, "--resume")
    assert isinstance(result.exception, SettingsError)
    assert "job.json" in str(result.exception)
    assert str(result.exception).endswith("Leave --resume out to start afresh")


def test_other_options_and_another_bundle_are_refused_and_nothing_is_touched(
    place: Path, thresholds: Path
) -> None:
    before = written(place / "out"), timeless(place / "out")
    result = segment(place, thresholds, "--resume", "--overlay")
    assert isinstance(result.exception, SettingsError)
    assert str(result.exception) == (
        "--resume: out was started with other options: overlay False, now True. Use the same "
        "bundle and options, choose another folder, or leave --resume out to start afresh"
    )
    result = segment(place, DEMO, "--resume")
    assert isinstance(result.exception, SettingsError)
    assert "was started with other options: bundle " in str(result.exception)
    assert before == (written(place / "out"), timeless(place / "out"))


def test_what_killed_processes_left_is_swept_whoever_has_their_number(
    place: Path, thresholds: Path
) -> None:
    dead = [".foveate-99999999-0.tmp", "more/.foveate-99999999-7.tmp",
            f".foveate-{os.getpid()}-0.tmp", ".foveate-1-0.tmp"]  # fmt: skip
    other = [".foveate-x.tmp", ".foveate-99999999-0.tmp.png"]
    for name in dead + other:
        (place / "out" / name).touch()
    resumed(place, thresholds, IMAGES)
    assert temporaries(place / "out") == other[:1]
    assert (place / "out" / other[1]).exists()


def test_a_writer_says_which_file_has_no_room(tmp_path: Path) -> None:
    with Writer(Path("/dev/full")) as writer:
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            writer.add({"a": 1})
    with Writer(tmp_path / "lines") as writer:
        writer.add({"name": "bad \udcff byte\nand break"})
    assert list(Journal(tmp_path).lines()) == []
    assert json.loads((tmp_path / "lines").read_text())["name"] == "bad \udcff byte\nand break"
