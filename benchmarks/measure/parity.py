"""Does every engine give the same masks? Each variant against the PyTorch fp32 cascade.

Disagreement is |A xor B| / |A or B| over foreground pixels, pooled over the images: agreement over
all pixels would hide blank masks. Without PyTorch the reference is ONNX Runtime fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.measure.images import Images, most_frequent
from foveate.benchmarks.measure.pictures import difference
from foveate.benchmarks.measure.targets import Variant, Variants
from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks, moved
from foveate.runtime.arrays import Pixels
from foveate.runtime.auto.cpu_candidates import DEFAULT
from foveate.runtime.auto.parity_records import (
    SUFFIX,
    EngineParity,
    PlanParity,
    parity_path,
    write_engine_parity,
    write_parity,
)
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import FixedShapeEngine
from foveate.runtime.engines.hardware import cpu_environment
from foveate.runtime.engines.tensorrt.engine import TensorRTEngine
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord
from foveate.runtime.io.overlay import draw_overlay, picture_of, write_picture
from foveate.runtime.result import Mask
from foveate.train.data.dataset import Case

Box = npt.NDArray[np.float32]
Segment = Callable[[Pixels], tuple[Mask, Box]]
"""An image (H, W) to its mask (H, W) uint8 and its boxes (R, 4) xyxy, or one alone (4,)."""
PICTURES = 4


@dataclass(frozen=True)
class Reference:
    """What gives the masks that all others are compared with."""

    name: str
    segment: Segment


def cascade_segment(cascade: Cascade) -> Segment:
    """Return a cascade as a function from an image to mask and box."""

    def segment(image: Pixels) -> tuple[Mask, Box]:
        result = cascade(image)
        return result.mask, result.box_xyxy

    return segment


def find_reference(found: Variants) -> Reference:
    """Return the PyTorch cascade of the bundle's weights; without torch, ONNX Runtime fp32."""
    try:
        from foveate.export.reference import torch_cascade
    except ImportError:
        fp32 = found.cascades.get(Variant("onnxruntime", "fp32"))
        cascade = fp32 or Cascade.load(found.bundle.path, "onnxruntime", "fp32")
        name = f"ONNX Runtime {import_module('onnxruntime').__version__} fp32"
        return Reference(f"{name} (PyTorch is not here)", cascade_segment(cascade))
    reference = torch_cascade(found.bundle)
    name = f"PyTorch {version('torch').split('+')[0]} fp32"
    if "imported" in found.bundle.manifest["network"]:
        name += " around the imported networks in ONNX Runtime"
    return Reference(name, reference.segment)


@dataclass
class Parity:
    """Every variant's disagreement with the reference on the same images.

    ``fixed``: that of engines compiled for the most frequent sizes, on the images of those.
    """

    reference: Reference
    totals: dict[str, Disagreement] = field(default_factory=dict)
    precisions: dict[str, str] = field(default_factory=dict)
    fixed: dict[str, Disagreement] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        return all(self.variant_held(name) for name in self.totals)

    def variant_held(self, name: str) -> bool:
        """Say whether a variant's masks hold, also those of a shape compiled for apart."""
        totals = [self.totals[name], *([self.fixed[name]] if name in self.fixed else [])]
        return all(total.held(self.precisions[name]) for total in totals)

    def as_json(self) -> dict[str, Any]:
        """Return the parity of each variant as the result file has it."""
        return {
            name: parity_row(self.reference.name, self.precisions[name], total)
            | {"held": self.variant_held(name)}
            | ({"fixed": _fixed_row(self.fixed[name])} if name in self.fixed else {})
            for name, total in self.totals.items()
        }


def _fixed_row(total: Disagreement) -> dict[str, Any]:
    return {
        "images": len(total.pairs),
        "disagreement": total.value,
        "dice_change": total.dice_change,
    }


def parity_row(reference: str, precision: str, total: Disagreement) -> dict[str, Any]:
    """Return one variant's parity as JSON values."""
    bound, dice_bound = BOUNDS[precision]
    dice, worst = total.mean_dice, total.worst
    return {
        "reference": reference,
        "images": len(total.pairs),
        "disagreement": total.value,
        "disagreement_bound": bound,
        "dice": dice[0] if dice else None,
        "dice_reference": dice[1] if dice else None,
        "dice_change": total.dice_change,
        "dice_change_bound": dice_bound,
        "emptiness_flips": total.flips,
        "moved_boxes": total.moved_boxes,
        "worst_image": worst.name if worst else None,
        "worst_disagreement": worst.disagreement if worst else 0.0,
        "held": total.held(precision),
    }


def each_image(total: Disagreement) -> list[dict[str, Any]]:
    """Return the figures of every image as JSON values."""
    return [
        {
            "name": pair.name,
            "disagreement": pair.disagreement,
            "differing_pixels": pair.differing,
            "flip": pair.flip,
            "moved": pair.moved,
            "dice": float(np.mean(pair.dice)) if pair.dice else None,
            "dice_reference": float(np.mean(pair.dice_reference)) if pair.dice else None,
        }
        for pair in total.pairs
    ]


def measure_parity(
    found: Variants,
    reference: Reference,
    images: Sequence[Images],
    progress: Callable[[str, int, int], None],
) -> Parity:
    """Return every variant's parity with a reference on every image, each image read once.

    A variant whose plans do not take every image is left out, with the reason.
    """
    found.leave_out_uncovered(sorted({size for part in images for size in part.sizes}))
    segments = {item.name: cascade_segment(loaded) for item, loaded in found.cascades.items()}
    precisions = {item.name: item.precision for item in found.cascades}
    parity = Parity(reference, {name: Disagreement() for name in segments}, precisions)
    count = sum(len(part) for part in images)
    frequent = most_frequent(size for part in images for size in part.sizes)
    with ExitStack() as stack:
        fixed = {
            item.name: cascade_segment(stack.enter_context(_fixed(found, item, frequent)))
            for item, loaded in found.cascades.items()
            if isinstance(loaded.engine, FixedShapeEngine)
        }
        parity.fixed = {name: Disagreement() for name in fixed}
        for number, case in enumerate(chain.from_iterable(images)):
            expected = parity.reference.segment(case.image)
            add_case(parity.totals, expected, case, segments)
            if case.image.shape[:2] in frequent:
                add_case(parity.fixed, expected, case, fixed)
            progress("comparing masks", number + 1, count)
    return parity


def _fixed(found: Variants, item: Variant, sizes: Sequence[tuple[int, int]]) -> Cascade:
    """Return a variant compiled for some sizes, as ``segment`` has it for large folders."""
    cascade = Cascade.load(found.bundle.path, item.engine, item.precision)
    cascade.warm_up(sizes)
    return cascade


def add_case(
    totals: Mapping[str, Disagreement],
    expected: tuple[Mask, Box],
    case: Case,
    segments: Mapping[str, Segment],
) -> None:
    """Add one image to the totals of every way to segment it."""
    for name, segment in segments.items():
        mask, box = segment(case.image)
        shifted = moved(box, expected[1])
        totals[name].add(compare_masks(case.name, mask, expected[0], shifted, case.truth))


def write_pictures(folder: Path, parity: Parity, found: Variants, images: Images) -> list[Path]:
    """Write each variant's worst images, the differing pixels marked, and return the files.

    Left the image with the variant's mask and box, right what differs from the reference's mask:
    amber where the variant finds too much, blue where it misses, violet where the class is
    another. Images whose masks are the same give no picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for variant, cascade in found.cascades.items():
        pairs = enumerate(parity.totals[variant.name].pairs)
        worst = sorted(pairs, key=lambda item: -item[1].disagreement)[:PICTURES]
        for rank, (index, pair) in enumerate(worst):
            if pair.differing == 0:
                continue
            picture = _picture(images.load(index), cascade, parity.reference)
            path = folder / f"{variant.engine}-{variant.precision}-worst-{rank + 1}.png"
            write_picture(path, picture)
            written.append(path)
    return written


def _picture(case: Case, cascade: Cascade, reference: Reference) -> npt.NDArray[np.uint8]:
    image = picture_of(case.image, cascade.spec.channels)
    result = cascade(case.image)
    expected, _ = reference.segment(case.image)
    left = draw_overlay(image, result.mask, result.box_xyxy)
    return np.hstack([left, difference(image, result.mask, expected)])


def write_proofs(found: Variants, parity: Parity, images: Sequence[Images]) -> list[str]:
    """Write the parity of every plan that made masks into the cache; return it in words.

    A plan is judged by the images that it was used for.
    """
    sizes = [size for part in images for size in part.sizes]
    data = ", ".join(part.name for part in images)
    written = []
    for variant, cascade in found.cascades.items():
        engine = cascade.engine
        if not isinstance(engine, TensorRTEngine):
            continue
        for record, total in _by_plan(engine, parity.totals[variant.name], sizes):
            query = engine.source.query
            proof = PlanParity.of(
                total, variant.precision, data, parity.reference.name,
                plan_sha256=record.plan_sha256, version=query.version, gpu=query.device,
            )  # fmt: skip
            path = engine.source.cache.path(record.key, SUFFIX)
            plan = f"plan {record.key[:12]} ({variant.precision})"
            try:
                write_parity(engine.source.cache, record, proof)
            except OSError as error:
                written.append(f"{plan}: {proof}{_unrecorded(error)}")
                continue
            written.append(f"{plan}: {proof}{_effect(proof, path)}")
    return written


def _by_plan(
    engine: TensorRTEngine, total: Disagreement, sizes: Sequence[tuple[int, int]]
) -> list[tuple[PlanRecord, Disagreement]]:
    found: dict[str, tuple[PlanRecord, Disagreement]] = {}
    for pair, size in zip(total.pairs, sizes, strict=True):
        record = engine.record_for((1, *size))
        found.setdefault(record.key, (record, Disagreement()))[1].add(pair)
    return list(found.values())


def write_engine_proofs(found: Variants, parity: Parity, data: str) -> list[str]:
    """Write the parity of every engine of a CPU into the cache; return it in words.

    ``data`` is the name of the data set. Phantoms drawn for the benchmark are none: a bundle may
    keep its masks on them and not on the images it was made for.
    """
    here, written = cpu_environment(), []
    for variant in found.cascades:
        if variant.engine not in here.versions or variant.name == DEFAULT.label:
            continue
        path = parity_path(found.bundle, here, variant.engine, variant.precision)
        total = parity.totals[variant.name]
        proof = EngineParity.of(total, variant.precision, data, parity.reference.name)
        proof = replace(proof, held=parity.variant_held(variant.name))
        try:
            write_engine_parity(path, proof)
        except OSError as error:
            written.append(f"{variant.name} on this processor: {proof}{_unrecorded(error)}")
            continue
        allowed = proof.proves and variant.precision == "fp32"  # as without a record
        effect = "" if allowed else _effect(proof, path)
        written.append(f"record of {variant.name} on this processor: {proof}{effect}")
    return written


def _unrecorded(error: OSError) -> str:
    return (
        f". Not recorded, so auto will not know of it: {error.filename}: {error.strerror}. "
        "FOVEATE_CACHE=FOLDER names another cache"
    )


def _effect(proof: EngineParity | PlanParity, path: Path) -> str:
    """Return what a record changes for ``auto``, and how to undo it."""
    if not proof.proves:
        return f". auto does not take it here; the record is {path}"
    return (
        ". From now on auto may take it here: --engine onnxruntime --precision fp32 keeps today's "
        f"masks, and so does removing {path}"
    )
