"""The camera loop: its rate, what it drops, its masks, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

from foveate.runtime import Cascade
from tests.examples.scripts import EMBED, script

COUNT = 30
Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square that wanders over a dark ground: 30 frames of 64 x 48."""
    path = tmp_path_factory.mktemp("video") / "square.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for number in range(COUNT):
        frame = np.full((48, 64, 3), 20, np.uint8)
        frame[10:30, number : number + 20] = 230
        writer.write(frame)
    writer.release()
    return path


def grey_frames(video: Path) -> list[Frame]:
    capture = cv2.VideoCapture(str(video))
    found = []
    while True:
        done, frame = capture.read()
        if not done:
            return found
        found.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8))


def camera(*arguments: object) -> Result:
    return CliRunner().invoke(script("camera").main, [str(item) for item in arguments])


def opened(video: Path, rate: float) -> Any:
    return script("camera").Camera(str(video), rate)


def test_every_frame_has_its_mask_or_is_counted_as_dropped(
    video: Path, thresholds: Path, tmp_path: Path
) -> None:
    result = camera(thresholds, video, "--rate", 500, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    last = result.output.split("\r")[-1]
    assert "p50" in last and "p99" in last
    masks = {int(path.stem): path for path in tmp_path.iterdir()}
    assert int(last.split(" dropped")[0]) == COUNT - len(masks)
    assert COUNT in masks  # the newest frame is never the one that goes
    frames = grey_frames(video)
    with Cascade.load(thresholds) as cascade:
        for number, path in masks.items():
            found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert found is not None
            expected = cascade(frames[number - 1]).mask
            np.testing.assert_array_equal(found > 0, expected)
            assert 300 < expected.sum() < 500


def test_a_slow_consumer_gets_the_newest_frame_and_the_others_are_dropped(video: Path) -> None:
    frames = opened(video, 500)
    frames.start()
    taken = iter(frames)
    first = next(taken)[0]
    frames.join()  # the consumer works on its first frame until the video is over
    rest = [number for number, _, _ in taken]
    assert rest == ([COUNT] if first < COUNT else [])
    assert frames.dropped == COUNT - 1 - len(rest)


def test_ctrl_c_ends_it_before_the_video_does(video: Path, thresholds: Path) -> None:
    words = [sys.executable, "-u", str(EMBED / "camera.py"), str(thresholds), str(video)]
    with subprocess.Popen(
        [*words, "--rate", "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1) == b"\r"  # the first mask is there
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        said = process.stdout.read()
        assert b"p99" in said and said.count(b"\r") < COUNT // 2
        assert b"Traceback" not in process.stderr.read()


def test_a_mistake_is_said_in_words_and_exit_code_2(
    video: Path, thresholds: Path, tmp_path: Path
) -> None:
    cases = {
        "no such bundle": ("missing.bundle", video),
        "cannot be opened": (thresholds, tmp_path / "missing.avi"),
        "does not exist": (thresholds, video, "--out", tmp_path / "missing"),
        "not in the range": (thresholds, video, "--rate", 0),
    }
    for words, arguments in cases.items():
        result = camera(*arguments)
        assert result.exit_code == 2 and words in result.output, result.output
    with pytest.raises(click.UsageError):
        opened(tmp_path / "missing.avi", 1)
