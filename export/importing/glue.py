"""Choose box and thresholds of imported networks on labelled images; measure their Dice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.errors import DataError
from foveate.runtime.io.window import chosen_window
from foveate.runtime.result import Mask
from foveate.runtime.spec import CascadeSpec, Size
from foveate.train.calibration.boxes import choose_box, measure_boxes
from foveate.train.calibration.choosing import Choosing
from foveate.train.calibration.decision import choose_decision, choose_threshold
from foveate.train.calibration.image_dice import class_dice, mean_dice_of
from foveate.train.data.dataset import load_dataset, read_stems
from foveate.train.data.full_images import FullImages
from foveate.train.data.views import RegionCrops, ViewSource, whole_item, whole_views
from foveate.train.fitting.hints import answers, regions
from foveate.train.reference.cascade import TorchCascade

LISTS = ("val.txt", "train.txt")
"""The list of a data set that is chosen on: the first that is there."""
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dice:
    """The images that were chosen on, and the mean Dice on them, by hand and of the cascade."""

    data: str
    images: int
    by_hand: float
    cascade: float

    def record(self) -> dict[str, Any]:
        return asdict(self)


def labelled(root: Path, spec: CascadeSpec) -> tuple[FullImages, str]:
    """Return the images of a data set that thresholds are chosen on, and words for them.

    Those of val.txt, else of train.txt, else all but those of test.txt.
    """
    name = next((name for name in LISTS if (root / name).is_file()), "")
    stems = read_stems(root / name) if name else None
    window, channels = chosen_window("", spec), spec.channels
    test = root / "test.txt"
    left_out = test if not name and test.is_file() else None
    dataset = load_dataset(root, stems=stems, window=window, test_list=left_out, channels=channels)
    if dataset.classes > len(spec.classes) - 1:
        raise DataError(
            f"{root} has masks of {dataset.classes} classes; the network tells "
            f"{len(spec.classes) - 1} apart"
        )
    words = f"{len(dataset.stems)} images of {root.resolve().name}"
    return FullImages(dataset), f"{words}, {name}" if name else words


def choose_on(cascade: TorchCascade, full: FullImages, choosing: Choosing) -> CascadeSpec:
    """Return the cascade's description with box and thresholds chosen, as after a training."""
    spec, stems = cascade.spec, full.dataset.stems
    if spec.stage2 is None:
        return choose_threshold(cascade, full, stems, choosing)[0]
    views = whole_views(full, stems, spec.stage1, partial(choosing.progress, "preparing views"))
    with torch.inference_mode():
        found = answers(
            cascade.stage1, lambda stem: whole_item(views[stem], spec), stems, mirrored=False
        )
    coarse = {stem: found[stem][0] for stem in stems}
    table = measure_boxes(coarse, views, spec.region, spec.stage2)
    best = choose_box(table)
    region = replace(
        spec.region, threshold=best.threshold, margin=best.margin, opening=best.opening
    )
    cascade = TorchCascade(replace(spec, region=region), cascade.stage1, cascade.stage2)
    source = ViewSource(
        full, views, stems, cascade.spec, lambda image, layers, _: (image, layers), 0
    )
    crops = RegionCrops(source, regions(found, views, region, spec.stage2))
    return choose_decision(cascade, crops, stems, table, choosing)[0]


def measure_dice(cascade: TorchCascade, full: FullImages, words: str) -> Dice:
    """Return the mean Dice of the cascade, and of its networks with code by hand around them."""
    classes, by_hand, own = len(cascade.spec.classes) - 1, [], []
    for stem in full.dataset.stems:
        image, truth = full.get(stem)
        by_hand.append(class_dice(segment_by_hand(cascade, image), truth, classes))
        own.append(class_dice(cascade.segment(image)[0], truth, classes))
    return Dice(words, len(own), mean_dice_of(by_hand), mean_dice_of(own))


@torch.inference_mode()
def segment_by_hand(cascade: TorchCascade, image: Pixels) -> Mask:
    """Return the (H, W) mask by OpenCV around the networks, as most would write it.

    Resized by areas where smaller and bilinearly where larger, threshold 0.5; stage 2 in the
    bounding box of stage 1's foreground and 15 % more at each side, the hint likewise.
    """
    spec, (height, width) = cascade.spec, image.shape
    pixels = as_input_type(image, spec.input_type).astype(np.float32) / np.float32(spec.full_scale)
    if spec.pad_multiple:
        down, right = (-side % spec.pad_multiple for side in (height, width))
        mean, std = _statistics(spec, pixels)
        padded = cv2.copyMakeBorder(
            (pixels - mean) / std, 0, down, 0, right, cv2.BORDER_CONSTANT, value=0.0
        )
        return _decide(
            _run(cascade, cascade.stage1, np.asarray(padded, np.float32)[None])[:, :height, :width]
        )
    small = _resized(pixels, spec.stage1)
    mean, std = _statistics(spec, small)
    coarse = _run(cascade, cascade.stage1, ((small - mean) / std)[None])
    if spec.stage2 is None or cascade.stage2 is None:
        return _decide(_maps(coarse, Size(height, width)))
    foreground = coarse[0] if len(coarse) == 1 else 1 - coarse[0]
    whole = _resized(foreground, Size(height, width))
    rows, columns = np.nonzero(whole > 0.5)
    y0, y1 = _widened(rows, height)
    x0, x1 = _widened(columns, width)
    crop = (_resized(pixels[y0:y1, x0:x1], spec.stage2) - mean) / std
    hint = _resized(whole[y0:y1, x0:x1], spec.stage2)
    refined = _run(cascade, cascade.stage2, np.stack([crop, hint]))
    mask = np.zeros(image.shape, np.uint8)
    mask[y0:y1, x0:x1] = _decide(_maps(refined, Size(y1 - y0, x1 - x0)))
    return mask


def _widened(places: npt.NDArray[np.intp], size: int) -> tuple[int, int]:
    """Return start and stop around marked rows, 15 % wider at each end; all where none is."""
    if not len(places):
        return 0, size
    start, stop = int(places.min()), int(places.max()) + 1
    margin = round(0.15 * (stop - start))
    return max(0, start - margin), min(size, stop + margin)


def _statistics(spec: CascadeSpec, pixels: FloatArray) -> tuple[float, float]:
    if spec.normalisation.mode == "constants":
        return spec.normalisation.mean, spec.normalisation.std
    return float(pixels.mean()), max(float(pixels.std()), 1e-4)


def _run(cascade: TorchCascade, network: torch.nn.Module, given: FloatArray) -> FloatArray:
    """Return (C, h, w) probabilities."""
    logits: Tensor = network(torch.from_numpy(np.ascontiguousarray(given, np.float32))[None])
    return np.asarray(cascade.probabilities(logits)[0].numpy(), np.float32)


def _decide(probability: FloatArray) -> Mask:
    if len(probability) == 1:
        return np.asarray(probability[0] > 0.5, np.uint8)
    return np.asarray(probability.argmax(axis=0), np.uint8)


def _maps(maps: FloatArray, size: Size) -> FloatArray:
    return np.stack([_resized(one, size) for one in maps])


def _resized(plane: FloatArray, size: Size) -> FloatArray:
    smaller = size.height < plane.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (size.width, size.height), interpolation=how), np.float32)
