"""The images on the page of an evaluation: which are shown, and a card of pictures for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.models import EvaluationJob
from foveate.benchmarks.evaluation.views import CASCADE, only_labelled
from foveate.benchmarks.measure.pictures import difference
from foveate.benchmarks.report import page
from foveate.runtime.agreement import without_ignored
from foveate.runtime.io.overlay import draw_overlay, picture_of

EACH = 4
"""How many images are shown as best, as median and as worst."""


def image_scores(found: Evaluation, method: str) -> dict[str, float]:
    """Return the mean Dice over classes of each image; images without a Dice are left out."""
    values: dict[str, list[float]] = {}
    for row in found.rows:
        if row.method == method and not np.isnan(row.metrics.dice):
            values.setdefault(row.stem, []).append(row.metrics.dice)
    return {stem: float(np.mean(dice)) for stem, dice in values.items()}


def chosen(scores: dict[str, float]) -> dict[str, list[str]]:
    """Return the stems shown under each heading, best first; no image is shown twice."""
    order = sorted(scores, key=lambda stem: (-scores[stem], stem))
    best, rest = order[:EACH], order[EACH:]
    worst, middle = rest[-EACH:], rest[:-EACH]
    start = max(0, (len(middle) - EACH) // 2)
    parts = {"Best": best, "Median": middle[start : start + EACH], "Worst": worst}
    return {title: stems for title, stems in parts.items() if stems}


def image_card(job: EvaluationJob, found: Evaluation, stem: str, method: str) -> str:
    """Return the HTML of one image, segmented again: image, truth, prediction, difference."""
    pixels, truth = job.dataset.image(stem), job.dataset.mask(stem)
    seen = job.views(stem, pixels, job.model.segment(pixels))
    view = only_labelled(seen[method], truth)
    truth = without_ignored(truth, truth)
    image = picture_of(pixels, job.model.spec.channels)
    box = _bounds(view.inside)
    frame = None if method != CASCADE else np.array([box], np.float32)
    x0, y0, x1, y1 = _bounds(view.inside | (truth > 0) | (view.mask > 0), 0.02)
    window = np.s_[y0:y1, x0:x1]
    near, mask, target = image[window], view.mask[window], truth[window]
    grey = np.zeros_like(truth)
    pictures = [
        ("image and box" if frame is not None else "image", draw_overlay(image, grey, frame)),
        ("truth", draw_overlay(near, target, None)),
        ("prediction", draw_overlay(near, mask, None)),
        ("what differs", difference(near, mask, target)),
    ]
    height, width = truth.shape
    score = image_scores(found, method)[stem]
    facts = [stem, f"{width} x {height}", *_card_figures(found, stem, method)]
    return page.card(f"Dice {score:.3f}", page.grade(score), facts, page.picture_row(pictures))


def _card_figures(found: Evaluation, stem: str, method: str) -> list[str]:
    rows = [row for row in found.rows if (row.stem, row.method) == (stem, method)]
    shown = []
    for row in rows:
        name = f"{found.classes[row.label - 1]}: " if len(rows) > 1 else ""
        if np.isnan(row.metrics.dice):
            text = f"{name}neither mask nor truth"
        else:
            dice = f"Dice {row.metrics.dice:.3f}, " if len(rows) > 1 else ""
            text = f"{name}{dice}HD95 {row.metrics.hd95:.1f} px"
        if row.truth_pixels:
            text += f", truth {row.truth_pixels / row.pixels:.2%} of the image"
            text += f", {row.missed:.1%} of it outside the box" if row.missed else ""
        shown.append(text)
    return shown


def _bounds(inside: npt.NDArray[np.bool_], margin: float = 0.0) -> tuple[int, int, int, int]:
    """Return xyxy of the pixels set, end exclusive, widened by a share of the image's sides."""
    height, width = inside.shape
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    dy, dx = round(margin * height), round(margin * width)
    return (
        max(0, int(columns[0]) - dx),
        max(0, int(rows[0]) - dy),
        min(width, int(columns[-1]) + 1 + dx),
        min(height, int(rows[-1]) + 1 + dy),
    )
