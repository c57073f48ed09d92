"""Choose which blocks stay in float32: as few as possible, those that change masks most first.

Judged on the calibration images, against the masks of the float32 graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
from onnxruntime.quantization.calibrate import TensorsData

from foveate.export.int8.quantise import block_names, quantise, value_ranges
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, moved
from foveate.runtime.arrays import Array, as_input_type, feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.errors import BundleError
from foveate.train.data.dataset import Case

SLACKS = (2 / 3, 1 / 3, 1 / 6)
"""Shares of the bounds that the calibration images may use: the first that holds on others.

A well-trained network is surer of its training images, and differs two to three times as much on
others.
"""
MAX_FLOAT_BLOCKS = 16
"""Blocks in float32 at most; a graph that needs more is hardly int8."""
RANKING_IMAGES = 8
"""Images on which each block is measured alone."""
NAMED_BLOCKS = 5
"""Blocks that an error names."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Int8Graph:
    """An int8 graph and its blocks in float32.

    ``effects`` are the disagreements of each block alone in 8 bits, if measured. ``change`` is the
    disagreement of the whole graph on the calibration images.
    """

    model: onnx.ModelProto
    float_blocks: tuple[str, ...]
    effects: dict[str, float]
    change: Disagreement

    def record(self) -> dict[str, Any]:
        """Return what parity.json holds next to the masks of the graph."""
        return {
            "calibration_disagreement": self.change.value,
            "float_blocks": {name: self.effects[name] for name in self.float_blocks},
        }


class BlockSearch:
    """A search for blocks to keep in float32; holds the float32 graph, its ranges and masks."""

    def __init__(
        self,
        model: onnx.ModelProto,
        cases: Sequence[Case],
        kind: tuple[str, int],
        progress: Progress,
    ) -> None:
        self.model, self.cases, self.progress = model, cases, progress
        self.images = [feed(as_input_type(case.image, *kind)[None]) for case in cases]
        self.ranges: TensorsData = value_ranges(model, self.images)
        self.expected = self._masks(model, len(cases))
        self.tried: list[Int8Graph] = []

    def run(self, slack: float) -> Int8Graph:
        """Return the graph with the fewest float32 blocks within ``slack`` times the bounds.

        The best one where none is.
        """
        for count in range(MAX_FLOAT_BLOCKS + 1):
            if count == len(self.tried):
                effects = self.effects if count else {}
                self.tried.append(self.quantise(tuple(effects)[:count], effects))
                self.progress("choosing blocks in float32", count, MAX_FLOAT_BLOCKS)
            if _within_bounds(self.tried[count].change, slack):
                return self.tried[count]
        return min(self.tried, key=lambda graph: graph.change.value)

    @cached_property
    def effects(self) -> dict[str, float]:
        """Return block -> disagreement with it alone in 8 bits, the largest first."""
        names, effects = block_names(self.model), {}
        for number, name in enumerate(names):
            others = [other for other in names if other != name]
            alone = quantise(self.model, self.ranges, others)
            effects[name] = self._change(alone, RANKING_IMAGES).value
            self.progress("ranking blocks", number + 1, len(names))
        return dict(sorted(effects.items(), key=lambda item: -item[1]))

    def quantise(
        self, float_blocks: tuple[str, ...], effects: dict[str, float] | None = None
    ) -> Int8Graph:
        """Return the graph with these blocks in float32, and its change on all images."""
        model = quantise(self.model, self.ranges, float_blocks)
        return Int8Graph(model, float_blocks, effects or {}, self._change(model, len(self.cases)))

    def error(self, graph: Int8Graph, row: dict[str, Any]) -> BundleError:
        """Return the error for a row of parity out of bounds, with the blocks that change most."""
        effects = self.effects
        others = [name for name in effects if name not in graph.float_blocks][:NAMED_BLOCKS]
        worst = ", ".join(f"{name} {effects[name]:.4f}" for name in others)
        change = row["dice_change"] or 0.0
        return BundleError(
            f"the int8 graph does not give PyTorch's masks: disagreement "
            f"{row['disagreement']:.4f}, expected at most {row['disagreement_bound']}; Dice change "
            f"{change:+.4f}, expected at most {row['dice_change_bound']} either way (worst image "
            f"{row['worst_image']}). {len(graph.float_blocks)} blocks are in float32; of the "
            f"others these change masks most, each alone in 8 bits: {worst}. Nothing was written; "
            "export without int8, or with --data of more images"
        )

    def _change(self, model: onnx.ModelProto, count: int) -> Disagreement:
        total = Disagreement()
        outputs = self._masks(model, count)
        for case, got, expected in zip(self.cases, outputs, self.expected, strict=False):
            shifted = moved(got["box"][0, 0], expected["box"][0, 0])
            masks = got["mask"][0], expected["mask"][0]
            total.add(compare_masks(case.name, *masks, shifted, case.truth))
        return total

    def _masks(self, model: onnx.ModelProto, count: int) -> list[dict[str, Array]]:
        with OnnxRuntimeEngine(model.SerializeToString()) as engine:
            return [engine.run({"image": image}, ("mask", "box")) for image in self.images[:count]]


def _within_bounds(change: Disagreement, slack: float) -> bool:
    """Say whether masks are within a share of the bounds of int8."""
    bound, dice_bound = (slack * value for value in BOUNDS["int8"])
    return change.value <= bound and abs(change.dice_change or 0.0) <= dice_bound
