"""The page of an evaluation: every figure, and the best, median and worst images to look at."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import foveate
from foveate.benchmarks import pages, tables
from foveate.benchmarks.bootstrap import FEW_GROUPS, LEVEL, RESAMPLES
from foveate.benchmarks.calibration import ReliabilityBin
from foveate.benchmarks.evaluate import Evaluation, Job
from foveate.benchmarks.metrics import NAMES
from foveate.benchmarks.models import CASCADE, SINGLE
from foveate.benchmarks.pictures import CONFUSED, MISSED, TOO_MUCH, difference
from foveate.benchmarks.summary import MEAN, Line, Summary
from foveate.runtime.mask_files import class_colour
from foveate.runtime.overlays import BOX_COLOUR, draw_overlay, eight_bit

EACH = 4
"""How many images are shown as best, as median and as worst."""
OBJECT_NOTE = (
    "<p>Found of all, and recall. An object of the truth is found when half of its pixels are "
    "predicted as its class; the rows are cut at the quartiles of the areas of all objects. A "
    "false object touches no truth of its class.</p>"
)


def write_page(path: Path, job: Job, found: Evaluation, summary: Summary) -> None:
    """Write one self-contained HTML page; the images shown are segmented again for it."""
    method = shown_method(found)
    model, data = job.model.identity, job.dataset.root.resolve().name
    beside = f", beside {job.single.identity.name}" if job.single else ""
    values = {
        "title": html.escape(f"{model.name} on {data}"),
        "what": html.escape(
            f"The {model.form} {model.name}{beside}, on {summary.images} images of {data} in "
            f"{summary.groups} groups."
        ),
        "facts": pages.fact_tiles(_facts(summary, method)),
        "warning": _warning(summary),
        "figures": _figure_table(summary.lines),
        "differences": _difference_table(summary.differences),
        "key": _key(found.classes),
        "objects": _object_table(summary),
        "reliability": "".join(
            _diagram(name, found.reliability[name].table(), summary.ece[name])
            for name in found.methods
        ),
        "images": "".join(
            f"<h2>{title}</h2>" + "".join(_card(job, found, stem, method) for stem in stems)
            for title, stems in chosen(image_scores(found, method)).items()
        ),
        "tolerance": f"{job.tolerance:g}",
        "level": f"{LEVEL:.0%}",
        "resamples": f"{RESAMPLES}",
        "machine": html.escape(
            f"foveate {foveate.__version__}, {model.engine}, {platform.machine()}, Python "
            f"{platform.python_version()}. Model sha256 {model.sha256[:16]}, data fingerprint "
            f"{job.dataset.fingerprint[:16]}."
        ),
    }
    pages.write_page(path, "evaluation.html", values)


def shown_method(found: Evaluation) -> str:
    """Return the method whose images are shown: the cascade where there is one."""
    return CASCADE if CASCADE in found.methods else SINGLE


def image_scores(found: Evaluation, method: str) -> dict[str, float]:
    """Return the mean Dice over classes of each image; images that say nothing are left out."""
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


def _facts(summary: Summary, method: str) -> list[tuple[str, str, str]]:
    line = next(item for item in summary.lines if (item.method, item.name) == (method, MEAN))
    dice, hd95 = line.figures["dice"], line.figures["hd95"]
    facts = [
        (f"Dice, {method}", f"{dice.value:.3f}", f"95% interval {tables.span(dice)}"),
        ("HD95", f"{hd95.value:.1f} px", f"95% interval [{hd95.low:.1f}, {hd95.high:.1f}]"),
    ]
    for item in summary.objects:
        if item.method == method and item.objects:
            note = f"{item.false_per_image:.2f} false objects per image"
            facts.append(("Objects found", f"{item.found} of {item.objects}", note))
    if summary.missed is not None:
        miss = summary.missed
        note = f"{miss.losing} of {miss.images} images lose more than 2%"
        facts.append(("Truth outside the box", f"{miss.pooled:.2%}", note))
    return facts


def _warning(summary: Summary) -> str:
    if summary.groups >= FEW_GROUPS:
        return ""
    return f'<p class="warning">{html.escape(tables.few_groups(summary))}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of text that scrolls on its own where the page is narrow."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _key(classes: Sequence[str]) -> str:
    """Return the colours of the pictures and what they stand for."""
    colours = [("box", BOX_COLOUR)]
    colours += [(name, class_colour(label + 1)) for label, name in enumerate(classes)]
    colours += [("found too much", class_colour(TOO_MUCH)), ("missed", class_colour(MISSED))]
    if len(classes) > 1:
        colours.append(("taken for another class", class_colour(CONFUSED)))
    return "".join(
        f'<i style="background:rgb{colour}"></i>{html.escape(name)}' for name, colour in colours
    )


def _figure_table(lines: Sequence[Line]) -> str:
    names = [tables.HEADS[name] for name in NAMES[1:]]
    rows = []
    for line in tables.worth_showing(lines):
        dice = line.figures["dice"]
        rest = [tables.number(line.figures[name].value, name) for name in NAMES[1:]]
        cells = [line.method, line.name, f"{dice.value:.3f}", tables.span(dice), *rest]
        rows.append([*cells, str(line.images), str(line.both_empty)])
    head = ["method", "class", "Dice", "95% interval", *names, "images", "empty"]
    return _table(head, rows)


def _difference_table(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    rows = []
    for line in tables.worth_showing(lines):
        dice, hd95 = line.figures["dice"], line.figures["hd95"]
        ends = f"[{hd95.low:+.1f}, {hd95.high:+.1f}]"
        shown = [f"{dice.value:+.3f}", tables.span(dice, "+"), f"{hd95.value:+.1f}", ends]
        rows.append([f"{line.method} - {line.against}", line.name, *shown])
    head = ["pair", "class", "Dice", "95% interval", "HD95", "95% interval"]
    return f"<h2>Paired differences</h2>{_table(head, rows)}"


def _object_table(summary: Summary) -> str:
    head, *rows = tables.object_rows(summary) or [[]]
    return f"<h2>Objects</h2>{_table(head, rows)}{OBJECT_NOTE}" if rows else ""


def _diagram(method: str, table: Sequence[ReliabilityBin], ece: float) -> str:
    """Return a reliability diagram: mean probability across, share of truth up."""
    points = [(100 * bin.probability, 100 - 100 * bin.truth) for bin in table if bin.pixels]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in points)
    return (
        f'<figure><svg viewBox="-3 -3 106 106" role="img" aria-label="reliability of '
        f'{html.escape(method)}"><rect width="100" height="100"/>'
        f'<line x1="0" y1="100" x2="100" y2="0"/><polyline points="{line}"/>{dots}</svg>'
        f"<figcaption>{html.escape(method)}: ECE {ece:.4f}</figcaption></figure>"
    )


def _card(job: Job, found: Evaluation, stem: str, method: str) -> str:
    """Return the HTML of one image, segmented again: image, truth, prediction, difference."""
    pixels, truth = job.dataset.image(stem), job.dataset.mask(stem)
    view = job.views(pixels)[method]
    image = eight_bit(pixels)
    box = _bounds(view.inside)
    frame = None if method != CASCADE else np.array([box], np.float32)
    x0, y0, x1, y1 = _bounds(view.inside | (truth > 0) | (view.mask > 0), 0.02)
    window = np.s_[y0:y1, x0:x1]
    near, mask, wanted = image[window], view.mask[window], truth[window]
    grey = np.zeros_like(truth)
    pictures = [
        ("image and box" if frame is not None else "image", draw_overlay(image, grey, frame)),
        ("truth", draw_overlay(near, wanted, None)),
        ("prediction", draw_overlay(near, mask, None)),
        ("what differs", difference(near, mask, wanted)),
    ]
    height, width = truth.shape
    score = image_scores(found, method)[stem]
    return (
        f'<section class="card"><header><b class="{pages.grade(score)}">Dice {score:.3f}</b>'
        f'<span class="stem">{html.escape(stem)}</span><span>{width} x {height}</span>'
        f"{_card_figures(found, stem, method)}</header>{pages.picture_row(pictures)}</section>"
    )


def _card_figures(found: Evaluation, stem: str, method: str) -> str:
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
        shown.append(f"<span>{html.escape(text)}</span>")
    return "".join(shown)


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
