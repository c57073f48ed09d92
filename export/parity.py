"""Parity: does a graph give the PyTorch cascade's masks? Measured when a bundle is made.

fp32 is run in ONNX Runtime. No CPU engine runs float16 arithmetic, so for fp16 the PyTorch
cascade runs with its weights rounded to float16 and float32 arithmetic; that is recorded as
``weights_rounded`` and is neither the parity nor the speed of an fp16 engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foveate.runtime.cascade import as_input_type
from foveate.runtime.engines.base import feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.runtime.overlap import Disagreement, dice
from foveate.train.cascade import TorchCascade

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Mask = npt.NDArray[np.uint8]

BOUNDS = {"fp32": (0.001, 0.0005), "fp16": (0.01, 0.002), "int8": (0.03, 0.005)}
"""Precision -> largest disagreement and largest change of the mean Dice."""


@dataclass(frozen=True)
class Case:
    """One image that parity is measured on; ``truth`` may be absent."""

    name: str
    image: Pixels
    truth: Mask | None


def torch_masks(cascade: TorchCascade, image: Pixels) -> tuple[Mask, npt.NDArray[np.float32]]:
    """Return mask (H, W) uint8 and box (4,) float32 of the PyTorch cascade for one image."""
    pixels = as_input_type(image, cascade.spec.input_type).astype(np.float32)
    with torch.inference_mode():
        output = cascade(torch.from_numpy(pixels)[None])
    return output.mask[0].numpy(), output.box[0, 0].numpy()


def measure(
    reference: TorchCascade,
    graph: bytes,
    rounded: TorchCascade,
    cases: Sequence[Case],
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Return the parity record: per precision, disagreement, Dice change, flips and moved boxes."""
    totals = {"fp32": Disagreement(), "fp16": Disagreement()}
    with OnnxRuntimeEngine(graph) as engine:
        for number, case in enumerate(cases):
            mask, box = torch_masks(reference, case.image)
            pixels = as_input_type(case.image, reference.spec.input_type)
            outputs = engine.run({"image": feed(pixels[None])}, ("mask", "box"))
            found = {
                "fp32": (outputs["mask"][0], outputs["box"][0, 0]),
                "fp16": torch_masks(rounded, case.image),
            }
            for precision, (other, other_box) in found.items():
                moved = bool(np.abs(other_box - box).max() > 0.5)
                totals[precision].add(case.name, other, mask, moved)
                if case.truth is not None:
                    totals[precision].dice_change += _dice_change(other, mask, case.truth)
            progress("measuring parity", number + 1, len(cases))
    how = {
        "fp32": "the graph in ONNX Runtime on a CPU",
        "fp16": "weights_rounded: PyTorch with weights rounded to float16, float32 arithmetic",
    }
    return {precision: _row(precision, totals[precision], how[precision]) for precision in totals}


def _dice_change(mask: Mask, reference: Mask, truth: Mask) -> list[float]:
    labels = range(1, int(max(mask.max(), reference.max(), truth.max(), 1)) + 1)
    pairs = [(dice(mask, truth, label), dice(reference, truth, label)) for label in labels]
    return [a - b for a, b in pairs if not np.isnan(a) and not np.isnan(b)]


def _row(precision: str, total: Disagreement, how: str) -> dict[str, Any]:
    bound, dice_bound = BOUNDS[precision]
    change = float(np.mean(total.dice_change)) if total.dice_change else None
    held = total.value <= bound and abs(change or 0.0) <= dice_bound
    return {
        "how": how,
        "weights_rounded": precision == "fp16",
        "images": total.images,
        "disagreement": total.value,
        "disagreement_bound": bound,
        "dice_change": change,
        "dice_change_bound": dice_bound,
        "held": held,
        "emptiness_flips": total.flips,
        "moved_boxes": total.moved_boxes,
        "worst_image": total.worst_name,
        "worst_disagreement": total.worst,
    }
