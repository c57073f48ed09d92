"""Engines that lie, for the benchmarks to find out: real ones with one thing wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine


class BlankingEngine(OnnxRuntimeEngine):
    """Answers with empty masks, as a precision does whose activations overflow."""

    name = "blanking"

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        found = super().run(feeds, outputs)
        return {**found, "mask": np.zeros_like(found["mask"])}


class ShiftedEngine(OnnxRuntimeEngine):
    """Looks at a box ten pixels too far to the right, and says so."""

    name = "shifted"

    def run(self, feeds: dict[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        found = super().run(feeds, outputs)
        box = found["box"].copy()
        box[:, :, 0] += 1
        return {**found, "box": box}
