"""What a step is given: settings of the whole check, its own arguments, a way to keep results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import foveate
from foveate.benchmarks.gpu.references import ReferenceSet, read_references
from foveate.runtime.errors import DataError

CHECKOUT = Path(foveate.__file__).parents[2]
"""The root of the checkout that is installed; the examples and the tests lie there."""
PRECISIONS = ("fp32", "tf32", "fp16")


@dataclass(frozen=True)
class CheckSettings:
    """How much is measured. ``runs`` are calls of a latency, ``window_s`` seconds of a rate.

    ``trial_runs`` come before a rate, twice: to warm up, and to find how many fill a window.

    ``rehearsal``: there is no GPU, and what is measured says nothing about one.
    """

    references: str
    out: str
    rehearsal: bool = False
    runs: int = 2000
    torch_runs: int = 300
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    few_batches: tuple[int, ...] = (1, 8, 64)
    windows: int = 5
    trial_runs: int = 6
    window_s: float = 0.12
    stream_images: int = 50_000

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rehearsal_settings(references: str, out: str) -> CheckSettings:
    """Return settings that take every path and measure next to nothing."""
    return CheckSettings(
        references, out, rehearsal=True, runs=4, torch_runs=2, batches=(1, 2), few_batches=(1,),
        windows=2, trial_runs=1, window_s=0.0, stream_images=60,
    )  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A step at work."""

    settings: CheckSettings
    arguments: Mapping[str, Any]
    keep: Callable[[dict[str, Any]], object]

    @classmethod
    def of(cls, job: Mapping[str, Any], keep: Callable[[dict[str, Any]], object]) -> Task:
        values = dict(job["settings"])
        for name in ("batches", "few_batches"):
            values[name] = tuple(values[name])
        return cls(CheckSettings(**values), job["arguments"], keep)

    @property
    def out(self) -> Path:
        return Path(self.settings.out)

    @property
    def engine(self) -> str:
        return str(self.arguments["engine"])

    @property
    def precision(self) -> str:
        return str(self.arguments["precision"])

    def reference_set(self, name: str = "") -> ReferenceSet:
        """Return the set that the step is about."""
        wanted = name or str(self.arguments["set"])
        for found in read_references(Path(self.settings.references), CHECKOUT):
            if found.name == wanted:
                return found
        raise DataError(f"{self.settings.references}: has no set {wanted}")

    def as_job(self, arguments: Mapping[str, Any]) -> str:
        """Return the job of a smoke with these settings, as a worker reads it."""
        settings = self.settings.as_json()
        return json.dumps({"kind": "smoke", "arguments": dict(arguments), "settings": settings})

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        print(text, flush=True)
