"""The demo: unseen phantoms through the shipped bundle, and a page to look at."""

from __future__ import annotations

import html
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np

import foveate
from foveate.benchmarks.measure.pictures import difference
from foveate.benchmarks.report import page
from foveate.runtime.agreement import dice
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.overlay import draw_overlay, eight_bit, write_picture
from foveate.runtime.io.png import write_mask
from foveate.runtime.result import Result
from foveate.train.data.phantom import Phantom, PhantomSettings, phantom

SEED = 20_261
"""Not the seed of any training set (docs/results.md)."""
LARGE = 0.005
SIZE = 1024
BUNDLE = "demo_bundle"


@dataclass(frozen=True)
class Shown:
    """One phantom with what the cascade said of it. ``dice`` is NaN when both are empty."""

    phantom: Phantom
    result: Result
    dice: float
    milliseconds: float

    @property
    def share(self) -> float:
        """Return the share of the image that the truth covers."""
        return float((self.phantom.mask > 0).mean())


@dataclass(frozen=True)
class Score:
    """Mean Dice over images with any truth or prediction, and over those with a large lesion."""

    mean: float
    large: float
    images: int
    large_images: int
    empty_right: int
    empty: int
    images_per_second: float


def bundle_path() -> Path:
    """Return the folder of the bundle shipped with the package."""
    return Path(str(files("foveate.benchmarks") / BUNDLE))


def run_demo(count: int, out: Path, progress: Callable[[str, int, int], None]) -> list[Shown]:
    """Segment ``count`` unseen phantoms, write image, mask and overlay of each, and return them."""
    for name in ("images", "masks", "overlays"):
        (out / name).mkdir(parents=True, exist_ok=True)
    shown = []
    with Cascade.load(bundle_path()) as cascade:
        for index in range(count):
            item = phantom(PhantomSettings(count, SIZE, SEED), index)
            if index == 0:
                cascade(item.image)  # the first run prepares memory; it is not timed
            started = time.perf_counter()
            result = cascade(item.image)
            seconds = time.perf_counter() - started
            value = dice(result.mask, item.mask, 1)
            shown.append(Shown(item, result, value, seconds * 1000))
            _write(out, shown[-1])
            progress("segmenting phantoms", index + 1, count)
    return shown


def _write(out: Path, item: Shown) -> None:
    stem = item.phantom.stem
    write_picture(out / "images" / f"{stem}.png", item.phantom.image)
    write_mask(out / "masks" / f"{stem}.png", item.result.mask, 2)
    picture = draw_overlay(eight_bit(item.phantom.image), item.result.mask, item.result.box_xyxy)
    write_picture(out / "overlays" / f"{stem}.jpg", picture)


def score(shown: Sequence[Shown]) -> Score:
    """Return the figures of the demo."""
    known = [item for item in shown if not np.isnan(item.dice)]
    large = [item.dice for item in known if item.share > LARGE]
    empty = [item for item in shown if item.share == 0]
    return Score(
        mean=float(np.mean([item.dice for item in known])) if known else float("nan"),
        large=float(np.mean(large)) if large else float("nan"),
        images=len(known),
        large_images=len(large),
        empty_right=sum(not item.result.mask.any() for item in empty),
        empty=len(empty),
        images_per_second=1000 * len(shown) / sum(item.milliseconds for item in shown),
    )


def write_page(path: Path, shown: Sequence[Shown], total: Score) -> None:
    """Write one self-contained HTML page: every image, its box and mask, its truth, its figures."""
    facts = [
        (
            "Mean Dice",
            f"{total.mean:.3f}",
            f"{total.images} unseen images with a lesion or a finding",
        ),
        ("Dice, lesions over 0.5%", f"{total.large:.3f}", f"{total.large_images} images"),
        ("Empty images left empty", f"{total.empty_right} of {total.empty}", "no lesion drawn"),
        ("Images a second", f"{total.images_per_second:.1f}", "array in, mask out, no files"),
    ]
    machine = (
        f"foveate {foveate.__version__}, "
        f"ONNX Runtime {import_module('onnxruntime').__version__} fp32, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )
    cards = "".join(_card(item) for item in shown)
    values = {"facts": page.fact_tiles(facts), "cards": cards, "machine": html.escape(machine)}
    page.write_page(path, "demo.html", values)


def _card(item: Shown) -> str:
    """Return the HTML of one image: whole with its box, then mask and truth inside the box."""
    image = eight_bit(item.phantom.image)
    height, width = image.shape
    x0, y0, x1, y1 = (int(value) for value in item.result.box_xyxy[0])
    whole = draw_overlay(image, item.result.mask, item.result.box_xyxy)
    mask, truth = item.result.mask[y0:y1, x0:x1], item.phantom.mask[y0:y1, x0:x1]
    region = image[y0:y1, x0:x1]
    pictures = [
        ("whole image and box", whole),
        ("region", np.repeat(region[:, :, None], 3, axis=2)),
        ("mask", draw_overlay(region, mask, None)),
        ("truth, with what differs", difference(region, mask, truth)),
    ]
    verdict, grade = "empty, left empty", "good"
    if not np.isnan(item.dice):
        verdict, grade = f"Dice {item.dice:.3f}", page.grade(item.dice)
    bits = 16 if item.phantom.image.dtype == np.uint16 else 8
    facts = [
        f"{width} x {height}, {bits} bit", f"lesion {item.share:.2%} of the image",
        f"{item.milliseconds:.0f} ms",
    ]  # fmt: skip
    return page.card(verdict, grade, facts, page.picture_row(pictures))
