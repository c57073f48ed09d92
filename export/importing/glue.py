"""Choose box and thresholds of imported networks on labelled images; measure their Dice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
from foveate.train.reference.cascade import STD_FLOOR, TorchCascade

LISTS = ("val.txt", "train.txt")
"""The list of a data set that is chosen on: the first that is there."""
FloatArray = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)


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
    spec, (height, width) = cascade.spec, image.shape[:2]
    pixels = as_input_type(image, *spec.input_kind).astype(np.float32) / np.float32(spec.full_scale)
    if spec.pad_multiple:
        down, right = (-side % spec.pad_multiple for side in (height, width))
        mean, std = statistics(spec, pixels)
        padded = np.pad(planes((pixels - mean) / std), ((0, 0), (0, down), (0, right)))
        return _decide(_run(cascade, cascade.stage1, padded)[:, :height, :width])
    small = _resized(pixels, spec.stage1)
    mean, std = statistics(spec, small)
    coarse = _run(cascade, cascade.stage1, planes((small - mean) / std))
    if spec.stage2 is None or cascade.stage2 is None:
        return _decide(_maps(coarse, Size(height, width)))
    foreground = coarse[0] if len(coarse) == 1 else 1 - coarse[0]
    whole = _resized(foreground, Size(height, width))
    rows, columns = np.nonzero(whole > 0.5)
    y0, y1 = _widened(rows, height)
    x0, x1 = _widened(columns, width)
    crop = planes((_resized(pixels[y0:y1, x0:x1], spec.stage2) - mean) / std)
    hint = _resized(whole[y0:y1, x0:x1], spec.stage2)
    refined = _run(cascade, cascade.stage2, np.concatenate([crop, hint[None]]))
    mask = np.zeros((height, width), np.uint8)
    mask[y0:y1, x0:x1] = _decide(_maps(refined, Size(y1 - y0, x1 - x0)))
    return mask


def _widened(places: npt.NDArray[np.intp], size: int) -> tuple[int, int]:
    """Return start and stop around marked rows, 15 % wider at each end; all where none is."""
    if not len(places):
        return 0, size
    start, stop = int(places.min()), int(places.max()) + 1
    margin = round(0.15 * (stop - start))
    return max(0, start - margin), min(size, stop + margin)


def planes(image: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return (C, h, w) of (h, w) or (h, w, C)."""
    return image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)


def statistics(spec: CascadeSpec, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and deviation to normalise by, of each channel if there are several."""
    known = spec.normalisation.constants(spec.input_channels)
    if known:
        mean, std = (np.array(part, np.float32) for part in known)
        return mean, std
    sides = (0, 1)
    return pixels.mean(axis=sides), np.maximum(pixels.std(axis=sides), np.float32(STD_FLOOR))


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


def _resized(image: FloatArray, size: Size) -> FloatArray:
    return opencv_resize(image, size, size.height < image.shape[0])


def opencv_resize(image: npt.NDArray[np.generic], size: Size, shrink: bool) -> FloatArray:
    """Return (h, w) or (h, w, C) float32, by areas to shrink, else bilinearly, in the same unit."""
    if image.ndim == 3 and image.shape[2] > 4:  # more than INTER_AREA takes
        return np.dstack([opencv_resize(plane, size, shrink) for plane in planes(image)])
    how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    found = cv2.resize(np.ascontiguousarray(image), (size.width, size.height), interpolation=how)
    return np.asarray(found, np.float32)
