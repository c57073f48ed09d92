"""Which blocks stay in float32: as few as needed, those first whose 8 bits change masks most.

Judged on the calibration images, against the masks of the float32 graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnxruntime.quantization.calibrate import TensorsData

from foveate.export.int8.quantise import quantised, value_ranges
from foveate.export.onnx_graph.layers import block_names
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, moved
from foveate.runtime.engines.base import Array, feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.input_types import as_input_type
from foveate.train.dataset import Case

SLACK = 2 / 3
"""Share of the bounds that the calibration images may use: other images differ more."""
MOST = 12
"""Blocks in float32 at most; a graph that needs more is not worth its name."""
JUDGED = 8
"""Images on which each block is judged alone."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Quantised:
    """A graph in int8: the blocks in float32, and the effect of each block's 8 bits, if measured.

    ``change`` is what the calibration images say of the whole.
    """

    model: onnx.ModelProto
    in_float: tuple[str, ...]
    effects: dict[str, float]
    change: Disagreement


class Search:
    """The graph in float32, the ranges of its values, and the masks it gives."""

    def __init__(
        self, model: onnx.ModelProto, cases: Sequence[Case], input_type: str, progress: Progress
    ) -> None:
        self.model, self.cases, self.progress = model, cases, progress
        self.images = [feed(as_input_type(case.image, input_type)[None]) for case in cases]
        self.ranges: TensorsData = value_ranges(model, self.images)
        self.wanted = self._masks(model, len(cases))

    def run(self) -> Quantised:
        """Return the graph of the fewest blocks in float32 that holds, else the best tried."""
        tried = [self._with(())]
        if held(tried[0].change):
            return tried[0]
        effects = self.effects()
        for count in range(1, min(MOST, len(effects)) + 1):
            tried.append(self._with(tuple(effects)[:count], effects))
            self.progress("choosing blocks in float32", count, MOST)
            if held(tried[-1].change):
                return tried[-1]
        return min(tried, key=lambda found: found.change.value)

    def effects(self) -> dict[str, float]:
        """Return block -> disagreement with it alone in 8 bits, the largest first."""
        names, found = block_names(self.model), {}
        for number, name in enumerate(names):
            others = [other for other in names if other != name]
            alone = quantised(self.model, self.ranges, others)
            found[name] = self._change(alone, JUDGED).value
            self.progress("judging blocks", number + 1, len(names))
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _with(self, names: tuple[str, ...], effects: dict[str, float] | None = None) -> Quantised:
        model = quantised(self.model, self.ranges, names)
        return Quantised(model, names, effects or {}, self._change(model, len(self.cases)))

    def _change(self, model: onnx.ModelProto, count: int) -> Disagreement:
        total = Disagreement()
        found = self._masks(model, count)
        for case, got, wanted in zip(self.cases, found, self.wanted, strict=False):
            shifted = moved(got["box"][0, 0], wanted["box"][0, 0])
            masks = got["mask"][0], wanted["mask"][0]
            total.add(compare_masks(case.name, *masks, shifted, case.truth))
        return total

    def _masks(self, model: onnx.ModelProto, count: int) -> list[dict[str, Array]]:
        with OnnxRuntimeEngine(model.SerializeToString()) as engine:
            return [engine.run({"image": image}, ("mask", "box")) for image in self.images[:count]]


def held(change: Disagreement) -> bool:
    """Say whether masks are inside the bounds of int8 with slack."""
    bound, dice_bound = (SLACK * value for value in BOUNDS["int8"])
    return change.value <= bound and abs(change.dice_change or 0.0) <= dice_bound
