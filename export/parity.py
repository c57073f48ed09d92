"""Measure the parity of graphs with the PyTorch cascade when a bundle is made.

fp32 and int8 are run in ONNX Runtime. No CPU engine runs float16 arithmetic, so for fp16 the
PyTorch cascade runs with its weights rounded to float16 and float32 arithmetic; that is recorded as
``weights_rounded`` and is neither the parity nor the speed of an fp16 engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from foveate.export.folding import fold_cascade
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, moved
from foveate.runtime.arrays import as_input_type, feed
from foveate.runtime.engines.onnxruntime import OnnxRuntimeEngine
from foveate.train.data.dataset import Case
from foveate.train.reference.cascade import TorchCascade


def measure(
    reference: TorchCascade,
    graphs: Mapping[str, bytes],
    cases: Sequence[Case],
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Return the parity record: per precision, disagreement, Dice change, flips and moved boxes.

    ``graphs`` are those of the precisions that a CPU computes in, fp32 and int8; fp16 is measured
    along with fp32.
    """
    rounded = fold_cascade(reference, rounded=True) if "fp32" in graphs else None
    totals = {name: Disagreement() for name in (*graphs, *(["fp16"] if rounded else []))}
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(OnnxRuntimeEngine(graph)) for name, graph in graphs.items()
        }
        for number, case in enumerate(cases):
            mask, box = reference.segment(case.image)
            pixels = as_input_type(case.image, *reference.spec.input_kind)
            outputs = {"fp16": rounded.segment(case.image)} if rounded else {}
            for precision, engine in engines.items():
                result = engine.run({"image": feed(pixels[None])}, ("mask", "box"))
                outputs[precision] = result["mask"][0], result["box"][0]
            for precision, (other, other_box) in outputs.items():
                shifted = moved(other_box, box)
                pair = compare_masks(case.name, other, mask, shifted, case.truth)
                totals[precision].add(pair)
            progress("measuring parity", number + 1, len(cases))
    how = dict.fromkeys(graphs, "the graph in ONNX Runtime on a CPU")
    how["fp16"] = "weights_rounded: PyTorch with weights rounded to float16, float32 arithmetic"
    return {precision: _row(precision, totals[precision], how[precision]) for precision in totals}


def _row(precision: str, total: Disagreement, how: str) -> dict[str, Any]:
    bound, dice_bound = BOUNDS[precision]
    worst = total.worst
    return {
        "how": how,
        "weights_rounded": precision == "fp16",
        "images": len(total.pairs),
        "disagreement": total.value,
        "disagreement_bound": bound,
        "dice_change": total.dice_change,
        "dice_change_bound": dice_bound,
        "held": total.held(precision),
        "emptiness_flips": len(total.flips),
        "moved_boxes": len(total.moved_boxes),
        "worst_image": worst.name if worst else "",
        "worst_disagreement": worst.disagreement if worst else 0.0,
    }
