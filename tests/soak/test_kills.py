"""``kill -9`` at random moments of ``foveate segment --resume``, until every image is done.

A round is one folder of masks: runs are killed, one after the other, until one of them ends by
itself. Then the folder must be that of an unbroken run, byte for byte. After every kill whatever
lies under a final name must already be.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.soak import FULL
from tests.soak.folders import command, temporaries, timeless, write_spots, written
from tests.soak.record import record
from tests.threshold_bundle import write_threshold_bundle

SIDE, SEED = 96, 6
KINDS: tuple[tuple[str, ...], ...] = (
    ("--recursive",),
    ("--recursive", "--overlay", "--probability"),
    ("--recursive", "--format", "npz"),
    ("--recursive", "--format", "coco"),
)
"""Options of the rounds, by turns."""
LONGEST_S = 300


@dataclass
class Found:
    """What the kills met. ``by_moment`` counts what a kill interrupted."""

    kills: int = 0
    rounds: int = 0
    leftovers: int = 0
    torn_lines: int = 0
    by_moment: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Killing:
    """Rounds of kills over one folder of images."""

    def __init__(self, folder: Path, images: int, seed: int = SEED) -> None:
        self._folder, self._images = folder, images
        self._bundle = write_threshold_bundle(folder / "threshold.bundle")
        self._rng = np.random.default_rng(seed)
        write_spots(folder / "in", images, SIDE, seed)
        self.found = Found()

    def run(self, kills: int, kinds: tuple[tuple[str, ...], ...] = KINDS) -> Iterator[Found]:
        """Kill so many times, and complete the last round; yield what was found so far."""
        unbroken = [self._unbroken(number, kind) for number, kind in enumerate(kinds)]
        while self.found.kills < kills and not self.found.broken:
            turn = self.found.rounds % len(kinds)
            self._round(kills, kinds[turn], *unbroken[turn])
            yield self.found

    def _command(self, out: Path, kind: tuple[str, ...]) -> list[str]:
        return command(self._bundle, self._folder / "in", out, "--resume", "--batch", "1", *kind)

    def _unbroken(self, number: int, kind: tuple[str, ...]) -> tuple[Path, float]:
        """Return the folder of a run that nothing interrupts, and its seconds."""
        out = self._folder / f"unbroken-{number}"
        started = time.monotonic()
        subprocess.run(self._command(out, kind), check=True, capture_output=True)
        return out, time.monotonic() - started

    def _round(self, kills: int, kind: tuple[str, ...], unbroken: Path, seconds: float) -> None:
        out, wanted = self._folder / "out", written(unbroken)
        while self.found.kills < kills:
            after = float(self._rng.uniform(0, 1.1 * seconds))
            if not self._killed(self._command(out, kind), after):
                break
            self._check_after_kill(out, wanted, " ".join(kind))
        done = subprocess.run(
            self._command(out, kind), capture_output=True, text=True, timeout=LONGEST_S
        )
        if done.returncode:
            self.found.broken.append(f"exit code {done.returncode}: {done.stderr[-500:]}")
        self._check_whole(out, unbroken, wanted, " ".join(kind))
        self.found.rounds += 1
        shutil.rmtree(out)

    def _killed(self, arguments: list[str], after: float) -> bool:
        """Say whether a run was killed so many seconds after its start, and did not end before."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=errors)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.found.kills += 1
                return True
            if process.returncode:
                errors.seek(0)
                said = errors.read().decode()[-500:]
                self.found.broken.append(f"a resumed run ended with {process.returncode}: {said}")
        return False

    def _check_after_kill(self, out: Path, wanted: dict[str, bytes], kind: str) -> None:
        there = written(out) if out.exists() else {}
        left, results = len(temporaries(out)), out / "results.jsonl"
        data = results.read_bytes() if results.exists() else b""
        self.found.leftovers += left
        self.found.torn_lines += bool(data) and not data.endswith(b"\n")
        self.found.by_moment[_moment(out, len(there), left, len(wanted))] += 1
        for name in there.keys() - {"annotations.json"}:
            if there[name] != wanted.get(name):
                self.found.broken.append(f"after a kill {name} is not the unbroken run's ({kind})")

    def _check_whole(self, out: Path, unbroken: Path, wanted: dict[str, bytes], kind: str) -> None:
        broken, there = self.found.broken, written(out)
        differing = [name for name in wanted.keys() | there.keys()
                     if wanted.get(name) != there.get(name)]  # fmt: skip
        if differing:
            broken.append(f"{len(differing)} files differ in the end ({kind}): {differing[:3]}")
        if timeless(out) != timeless(unbroken):
            broken.append(f"the lines of results.jsonl differ in the end ({kind})")
        if temporaries(out):
            broken.append(f"temporary files in the end ({kind}): {temporaries(out)[:3]}")


def _moment(out: Path, there: int, left: int, wanted: int) -> str:
    if not (out / "job.json").exists():
        return "start-up of the first run"
    if left:
        return "within the writing of a file"
    return "all files there" if there >= wanted else "some files there"


@pytest.mark.soak
def test_kills_change_nothing(tmp_path: Path) -> None:
    kills, images = (200, 400) if FULL else (3, 200)
    killing = Killing(tmp_path, images, seed=SEED if FULL else 2)
    for _ in killing.run(kills, KINDS if FULL else KINDS[1:2]):
        pass
    found = killing.found
    moments = dict(found.by_moment)
    record("kills", {"images": images, **asdict(found), "by_moment": moments})
    assert not found.broken
    assert found.kills == kills and found.rounds
