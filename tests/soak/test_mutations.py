"""Thousands of spoilt files through the real pipeline, in folders with good ones among them.

Every spoilt file has to be listed as failed, or have the mask of the pixels that its decoder
gives; every good file its mask of before; no process may crash, and none may stand still.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.segment.journal import FAILURES, RESULTS
from tests.soak import FULL
from tests.soak.folders import command, lines, written
from tests.soak.judge import Judge
from tests.soak.mutator import mutant, specimens
from tests.soak.record import record
from tests.threshold_bundle import write_threshold_bundle

A_FOLDER, SEED = 500, 11
STILL_S = 10.0
"""A run whose journal does not grow for so long hangs."""
POLL_S = 0.05
SUSPECTS = 24
"""After a crash the first so many files without a line are tried one by one."""


@dataclass
class Found:
    """What the mutants met."""

    mutants: int = 0
    listed: int = 0
    masks: int = 0
    good: int = 0
    slowest_ms: float = 0.0
    stillest_s: float = 0.0
    broken: list[str] = field(default_factory=list)


class Mutating:
    """Folders of mutants and good files, and what segmenting them gives."""

    def __init__(self, folder: Path, seed: int = SEED) -> None:
        self._folder, self._seed = folder, seed
        self.found = Found()
        self._bundle = write_threshold_bundle(folder / "threshold.bundle")
        self._good = _write_good(folder / "good", seed)
        done = self._segment(folder / "good", folder / "good-masks")
        assert done == 0, done
        self._good_masks = written(folder / "good-masks")
        self._judge = Judge(Cascade.load(self._bundle, threads=1))

    def run(self, numbers: range) -> None:
        """Segment one folder of the mutants with these numbers and judge what came of it."""
        inputs, out = self._folder / "in", self._folder / "out"
        shutil.copytree(self._folder / "good", inputs)
        kinds = {}
        for number in numbers:
            suffix, kind, data = mutant(number, self._seed)
            name = f"m{number:06d}{suffix}"
            (inputs / name).write_bytes(data)
            kinds[name] = kind
        code = self._segment(inputs, out)
        if code not in (0, 1):
            self._accuse(inputs, out, kinds, code)
        self._judge_all(inputs, out, kinds)
        shutil.rmtree(inputs)
        shutil.rmtree(out)

    def _segment(self, inputs: Path, out: Path) -> int | str:
        """Return the exit code of a run, or the end of what it said where it is not 0 or 1."""
        with tempfile.TemporaryFile() as said:
            arguments = command(self._bundle, inputs, out)
            process = subprocess.Popen(arguments, stdout=said, stderr=subprocess.STDOUT)
            code = self._watched(process, out)
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
        if code in (0, 1) and "Traceback" not in text:
            return code
        return f"exit code {code}: {text[-400:]}"

    def _watched(self, process: subprocess.Popen[bytes], out: Path) -> int:
        """Return the exit code of a run; -9 when it stood still and was ended."""
        before, since = -1, time.monotonic()
        while process.poll() is None:
            size = sum(_size(out / name) for name in (RESULTS, FAILURES))
            now = time.monotonic()
            if size != before:
                if before > 0:
                    self.found.stillest_s = max(self.found.stillest_s, now - since)
                before, since = size, now
            elif now - since > STILL_S:
                process.kill()
            time.sleep(POLL_S)
        return process.returncode

    def _accuse(self, inputs: Path, out: Path, kinds: dict[str, str], said: int | str) -> None:
        """Name the files that end a run alone; what has no line was in hand or came after it."""
        named = {line["input"] for journal in (RESULTS, FAILURES) for line in lines(out, journal)}
        missing = [path for path in sorted(inputs.iterdir()) if str(path) not in named]
        self.found.broken.append(f"a run of {len(kinds)} mutants: {said}")
        for path in missing[:SUSPECTS]:
            alone = self._segment(path, self._folder / "alone")
            if alone not in (0, 1):
                kept = Path.cwd() / f"culprit-{path.name}"
                shutil.copy(path, kept)
                self.found.broken.append(f"{kinds.get(path.name, 'good')}, kept as {kept}: {alone}")
            shutil.rmtree(self._folder / "alone", ignore_errors=True)

    def _judge_all(self, inputs: Path, out: Path, kinds: dict[str, str]) -> None:
        found, masks = self.found, written(out)
        listed = {Path(line["input"]).name for line in lines(out, FAILURES)}
        done = {Path(line["input"]).name for line in lines(out)}
        for line in lines(out):
            name = Path(line["input"]).name
            if name not in kinds:
                continue
            found.masks += 1
            found.slowest_ms = max(found.slowest_ms, sum(line["ms"].values()))
            wrong = self._judge.verdict(inputs / name, line, out)
            if wrong:
                found.broken.append(f"{name} ({kinds[name]}): {wrong}")
        for name in kinds.keys() - listed - done:
            found.broken.append(f"{name} ({kinds[name]}): neither listed nor segmented")
        for name, mask in self._good_masks.items():
            found.good += masks.get(name) == mask
            if masks.get(name) != mask:
                found.broken.append(f"the good file {name} has another mask, or none")
        found.mutants += len(kinds)
        found.listed += len(listed & kinds.keys())


def _write_good(folder: Path, seed: int) -> Path:
    """Write a sound file of every kind."""
    folder.mkdir()
    files = specimens(np.random.default_rng(seed))
    for number, (suffix, data) in enumerate(files.values()):
        (folder / f"good{number:02d}{suffix}").write_bytes(data)
    return folder


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.soak
def test_spoilt_files_are_listed_or_have_the_mask_of_their_pixels(tmp_path: Path) -> None:
    count = 10_000 if FULL else 150
    mutating = Mutating(tmp_path)
    for start in range(0, count, A_FOLDER):
        mutating.run(range(start, min(start + A_FOLDER, count)))
    found = mutating.found
    record("spoilt-files", asdict(found))
    assert not found.broken
    assert found.mutants == count
    assert found.listed > count // 4 and found.masks > count // 4
