"""Process one image from its file to its mask; called by several threads."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cascade.decide import decide
from foveate.runtime.cascade.decision import Decision
from foveate.runtime.cascade.doubt import measure_doubt
from foveate.runtime.errors import DeviceMemoryError, GraphError, ImageError
from foveate.runtime.io.channels import converted_to
from foveate.runtime.io.formats.pixel_size import PixelSize
from foveate.runtime.io.images import read_image_and_header
from foveate.runtime.io.inputs import Item
from foveate.runtime.io.outputs import OutputSettings, write_outputs
from foveate.runtime.io.result_line import result_line
from foveate.runtime.io.window import chosen_window
from foveate.runtime.limits import PIXELS, PixelBudget
from foveate.runtime.objects.labels import label_objects
from foveate.runtime.segment.batcher import Batcher
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.resume import stamp
from foveate.runtime.segment.stage_times import ImageTimes

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the output folder that would hit every other file too."""


@dataclass(frozen=True)
class Written:
    """An image whose files are written: its journal line and the core time of each stage."""

    line: dict[str, Any]
    core_ms: dict[str, float]


@dataclass(frozen=True)
class Failure:
    """An input without a mask, and the reason."""

    input: str
    reason: str
    page: int = 0

    @property
    def line(self) -> dict[str, Any]:
        page = {"page": self.page} if self.page else {}
        return {"input": self.input, **page, "reason": self.reason}


class ItemWorker:
    """Segment items into a folder. An error of one image is returned as a Failure.

    Raises EngineError when the engine fails, OSError when nothing more can be written.
    """

    def __init__(
        self,
        cascade: Cascade,
        outputs: OutputSettings,
        out: Path,
        concurrency: Concurrency,
        window: str = "",
        pixel_size: PixelSize | None = None,
        decision: Decision = Decision(),  # noqa: B008  # frozen
    ) -> None:
        self._cascade, self._outputs, self._out = cascade, outputs, out
        self._window = chosen_window(window, cascade.spec)
        self._pixel_size, self._decision = pixel_size, decision
        self._probabilities = outputs.probability or outputs.rank or decision.threshold is not None
        own = concurrency.threads > 1 or cascade.choice.engine == "openvino"
        self._engine_threads = concurrency.threads if own else 0  # 0: it computes on ours
        self._segment = Batcher(cascade, concurrency.batch)
        self._budget = PixelBudget(PIXELS)

    def __call__(self, item: Item) -> Written | Failure:
        """Return the outcome of an item."""
        try:
            return self._written(item)
        except (ImageError, GraphError, DeviceMemoryError) as error:
            reason = str(error)
        except MemoryError:
            reason = "not enough memory; try --workers 1"
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            reason = f"mask not written: {error.strerror or error}"
        return Failure(str(item.path), reason, item.page)

    def _written(self, item: Item) -> Written:
        spec, times, objects, doubt = self._cascade.spec, ImageTimes(), None, {}
        read = stamp(item)
        with times.stage("decode"):
            image, header = read_image_and_header(item.path, item.page, self._window, spec.channels)
        size = self._pixel_size or header.pixel_size
        with self._budget.room(image.size):
            with times.stage("engine"):
                results = [self._segment(one, self._probabilities) for one in self._views(image)]
            if self._engine_threads:
                executed = (found.timings.execute_ms for found in results if found.timings)
                times.core_ms["engine"] = self._engine_threads * sum(executed)
            with times.stage("encode"):
                result, *mirrored = (decide(one, spec, self._decision, size) for one in results)
                if mirrored:
                    doubt = measure_doubt(result, mirrored[0], spec, self._decision)
                if self._outputs.objects:
                    objects = label_objects(result.mask, bool(self._outputs.split))
                files = write_outputs(
                    self._outputs,
                    self._out,
                    item.name,
                    image,
                    result,
                    spec,
                    str(item.path),
                    size,
                    objects,
                )
        line = result_line(str(item.path), item.page, files, image, result, spec, size)
        read_as = converted_to(header, spec.channels)
        line |= {"read_as": read_as} if read_as else {}
        line |= {"objects": objects.counts(spec.classes)} if objects else {}
        line |= {"bundle": self._cascade.bundle.label, **read, "files": files}
        line |= doubt
        line |= {"decision": self._decision.given} if self._decision.given else {}
        line["ms"] |= {name: round(times.wall_ms[name], 3) for name in ("decode", "encode")}
        return Written(line, times.core_ms)

    def _views(self, image: Pixels) -> list[Pixels]:
        """Return the image and, for its doubt, the image mirrored left to right."""
        return [image, image[:, ::-1].copy()] if self._outputs.rank else [image]
