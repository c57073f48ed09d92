"""The request and the outcome of ``foveate segment``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.auto.choose import AUTO, Choice
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.errors import SettingsError
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.item_worker import Failure
from foveate.runtime.segment.pipeline import Report
from foveate.runtime.segment.watch import WatchSettings

SCHEMA = 1
"""The version of the summary's fields."""


@dataclass(frozen=True)
class Request:
    """The options of ``foveate segment``."""

    bundle: Path
    inputs: Sequence[str]
    out: Path
    recursive: bool = False
    kind: str = "png"
    overlay: bool = False
    probability: bool = False
    objects: bool = False
    labels: bool = False
    split: str | None = None
    rank: bool = False
    page: bool = False
    resume: bool = False
    fail_fast: bool = False
    shard: str = ""
    engine: str = AUTO
    precision: str = AUTO
    workers: int = 0
    batch: int = 0
    threads: int = 0
    gpu: int = 0
    ray: str = ""
    trust: Sequence[Path] = ()
    watch: Path | None = None
    window: str = ""
    pixel_size: str = ""
    stem_list: Path | None = None
    decide: Decision = Decision()

    @property
    def outputs(self) -> OutputSettings:
        return OutputSettings(
            self.kind,
            self.overlay,
            self.probability,
            self.objects,
            self.labels,
            self.split,
            self.rank,
            self.page,
        )

    def watch_settings(self, channels: str) -> WatchSettings:
        """Return what to watch; SettingsError if it cannot be combined with the other options."""
        if self.watch is None:
            raise SettingsError("there is nothing to segment; expected INPUT..., or --watch FOLDER")
        if self.inputs or self.stem_list or self.ray or self.shard:
            raise SettingsError(
                "--watch cannot be combined with INPUT, --list, --ray or --shard; run it once for "
                "each folder"
            )
        settings = WatchSettings(self.watch, self.out, self.recursive, channels)
        settings.check()
        return settings


@dataclass(frozen=True)
class ResolvedRequest:
    """A request with bundle and engine resolved.

    ``begin`` receives the concurrency before work starts. ``sizes``: those that an earlier run
    compiled for; None: to be found.
    """

    request: Request
    bundle: Bundle
    choice: Choice
    begin: Callable[[Mapping[str, Any]], None]
    sizes: Sequence[Sequence[int]] | None


@dataclass
class Outcome:
    """The outcome of a run. ``resumed``: inputs that an earlier run had done.

    ``unfinished``: what was seen in a watched folder and has neither a mask nor failed for good.
    ``objects``: counts and areas in the table of objects, by class. ``ranking``: its file and the
    most doubtful images. ``page``: the page of the run.
    """

    report: Report
    bundle: Bundle
    choice: Choice
    concurrency: Concurrency
    resumed: int
    unfinished: Sequence[Failure]
    failures_file: Path
    out: Path
    objects: Mapping[str, Mapping[str, int]]
    ranking: Mapping[str, Any]
    page: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values; docs/outputs.md says what each field means."""
        values = asdict(self.report)
        stages = values.pop("stages")
        return {
            "schema": SCHEMA,
            "bundle": self.bundle.label,
            "input_type": self.bundle.spec.input_type,
            **values,
            **asdict(self.choice),
            **stages,
            "failures": [failure.line for failure in self.report.failures],
            "unfinished": [failure.line for failure in self.unfinished],
            "images_per_second": self.report.images_per_second,
            "resumed": self.resumed,
            "objects": self.objects,
            "ranking": self.ranking,
            "plan": self.concurrency.as_dict(),
            "out": str(self.out),
        }
