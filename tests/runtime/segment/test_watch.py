"""``foveate segment --watch``: files that come in every way, each done once it is whole."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.errors import UnavailableWarning
from foveate.runtime.segment.run import Outcome, Request, segment_run
from tests.conftest import run
from tests.soak.folders import lines, spot, temporaries, written

LONGEST_S = 20.0
QUIET_S = (0.15, 0.2, 0.3)


def png(seed: int, side: int = 48) -> bytes:
    return cv2.imencode(".png", spot(side, np.random.default_rng(seed)))[1].tobytes()


class Inbox:
    """A watched folder: ``watch`` and ``out`` in a folder, and the run that watches it."""

    def __init__(self, root: Path, bundle: Path) -> None:
        self.watch, self.out = root / "watch", root / "out"
        self.watch.mkdir(exist_ok=True)
        self.request = Request(bundle, (), self.out, watch=self.watch, recursive=True, resume=True)
        self.outcome: Outcome | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch on another thread; what is in flight is finished at the end."""
        stop = threading.Event()

        def work() -> None:
            self.outcome = segment_run(self.request, stop=stop)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(LONGEST_S)
        assert not thread.is_alive() and self.outcome is not None

    def inputs(self, name: str = "results.jsonl") -> list[str]:
        """The names of the images that have a line, in the order of their lines."""
        found = [os.path.relpath(line["input"], self.watch) for line in lines(self.out, name)]
        return [name.replace(os.sep, "/") for name in found]


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def inbox(thresholds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    """With quiet times that a test can wait for."""
    monkeypatch.setattr("foveate.runtime.segment.watch.QUIET_S", QUIET_S)
    monkeypatch.setattr("foveate.runtime.segment.watch.POLL_S", 0.03)
    return Inbox(tmp_path, thresholds)


def test_files_that_come_in_every_way_are_done_once(inbox: Inbox, tmp_path: Path) -> None:
    (inbox.watch / "there.png").write_bytes(png(0))
    with inbox.running():
        (tmp_path / "moved.png").write_bytes(png(1))
        (inbox.watch / "sub").mkdir()
        os.rename(tmp_path / "moved.png", inbox.watch / "sub" / "moved.png")
        (inbox.watch / ".hidden.png").write_bytes(png(2))
        (inbox.watch / "notes.txt").write_text("no image")
        shutil.copy(inbox.watch / "there.png", inbox.watch / "there.bmp")
        data = png(3, 200)
        with (inbox.watch / "grows.png").open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 4):
                file.write(data[start : start + len(data) // 4])
                time.sleep(0.05)
        wait_for(lambda: len(inbox.inputs()) == 4)
        time.sleep(0.1)
    names = ["grows.png", "sub/moved.png", "there.bmp", "there.png"]
    assert sorted(inbox.inputs()) == names
    masks = written(inbox.out)
    assert sorted(masks) == sorted(f"{name}.png" for name in names)
    for number, name in enumerate(names):
        single = tmp_path / "single" / str(number)
        run("segment", inbox.request.bundle, inbox.watch / name, "--out", single)
        assert masks[f"{name}.png"] == next(single.glob("*.png")).read_bytes()


def test_a_stalled_copy_is_tried_again_and_a_broken_file_listed_once(inbox: Inbox) -> None:
    data = png(4, 300)
    with inbox.running():
        (inbox.watch / "broken.png").write_bytes(data[:100])
        (inbox.watch / "stalled.png").write_bytes(data[:-20])
        time.sleep(QUIET_S[0] + 0.1)  # it has been tried by now, and failed
        with (inbox.watch / "stalled.png").open("ab") as file:
            file.write(data[-20:])
        wait_for(lambda: inbox.inputs("failures.jsonl") == ["broken.png"])
        wait_for(lambda: inbox.inputs() == ["stalled.png"])
        (inbox.watch / "broken.png").write_bytes(data)  # mended: it is an image like any other
        wait_for(lambda: inbox.inputs() == ["stalled.png", "broken.png"])
    assert inbox.inputs("failures.jsonl") == ["broken.png"]
    assert inbox.outcome is not None and inbox.outcome.report.failures == []


def test_what_is_seen_and_not_finished_is_listed_at_the_end(inbox: Inbox) -> None:
    sizes = count()

    def done() -> bool:
        (inbox.watch / "growing.png").write_bytes(bytes(next(sizes)))
        return inbox.inputs() == ["done.png"]

    with inbox.running():
        (inbox.watch / "text.png").write_text("no image")
        (inbox.watch / "done.png").write_bytes(png(4))
        wait_for(done)
    assert inbox.outcome is not None
    reasons = {Path(one.input).name: one.reason for one in inbox.outcome.unfinished}
    failed = {Path(one.input).name for one in inbox.outcome.report.failures}
    assert "growing.png" in reasons and failed | reasons.keys() == {"growing.png", "text.png"}
    for name in reasons.keys() - {"growing.png"}:
        assert reasons[name].startswith(("is not an image", "was not complete"))


def test_what_is_removed_stops_nothing(inbox: Inbox) -> None:
    with inbox.running():
        (inbox.watch / "before.png").write_bytes(png(6))
        wait_for(lambda: inbox.inputs() == ["before.png"])
        (inbox.watch / "gone.png").write_bytes(png(5)[:50])
        (inbox.watch / "folder.png").mkdir()
        os.mkfifo(inbox.watch / "pipe.png")
        time.sleep(QUIET_S[0] + 0.1)
        (inbox.watch / "gone.png").unlink()
        with pytest.warns(
            UnavailableWarning, match="No such file or directory. Waiting for it"
        ) as said:
            os.rename(inbox.watch, inbox.watch.with_name("away"))
            wait_for(lambda: len(said) > 0)
            os.rename(inbox.watch.with_name("away"), inbox.watch)
        assert len(said) == 1
        (inbox.watch / "after.png").write_bytes(png(6))
        wait_for(lambda: inbox.inputs() == ["before.png", "after.png"])
    assert inbox.outcome is not None and not inbox.outcome.report.failures


def test_a_link_that_leads_nowhere_fails_until_it_is_mended(inbox: Inbox, tmp_path: Path) -> None:
    (inbox.watch / "self").symlink_to("self")
    (inbox.watch / "late.png").symlink_to(tmp_path / "late.png")
    (inbox.watch / "there.png").write_bytes(png(11))
    with pytest.warns(UnavailableWarning) as said, inbox.running():
        wait_for(lambda: sorted(inbox.inputs("failures.jsonl")) == ["late.png", "self"])
        (tmp_path / "late.png").write_bytes(png(12))
        wait_for(lambda: inbox.inputs() == ["there.png", "late.png"])
    assert sorted(str(warning.message).split(":")[0] for warning in said) == [
        str(inbox.watch / "late.png"),
        str(inbox.watch / "self"),
    ]
    assert inbox.outcome is not None
    [failure] = inbox.outcome.report.failures
    assert failure.reason == "cannot be read: Too many levels of symbolic links"


def test_a_changed_image_is_done_again(inbox: Inbox) -> None:
    with inbox.running():
        (inbox.watch / "a.png").write_bytes(png(7))
        wait_for(lambda: len(inbox.inputs()) == 1)
        before = written(inbox.out)
        (inbox.watch / "a.png").write_bytes(png(8, 50))
        wait_for(lambda: len(inbox.inputs()) == 2)
    assert written(inbox.out) != before


def test_a_second_run_does_nothing_twice(inbox: Inbox) -> None:
    for number in range(3):
        (inbox.watch / f"{number}.png").write_bytes(png(number))
    with inbox.running():
        wait_for(lambda: len(inbox.inputs()) == 3)
    (inbox.watch / "late.png").write_bytes(png(9))
    with inbox.running():
        wait_for(lambda: len(inbox.inputs()) == 4)
    assert inbox.outcome is not None
    assert (inbox.outcome.resumed, inbox.outcome.report.written) == (3, 1)
    assert len(inbox.inputs()) == 4 and not temporaries(inbox.out)
