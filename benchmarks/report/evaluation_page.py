"""The page of an evaluation: every figure, and the best, median and worst images to look at."""

from __future__ import annotations

import html
import math
import platform
from collections.abc import Sequence
from pathlib import Path

import foveate
from foveate.benchmarks.evaluation.calibration import ReliabilityBin
from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.models import EvaluationJob
from foveate.benchmarks.evaluation.summary import MEAN, Summary
from foveate.benchmarks.evaluation.sweep import SweepLine
from foveate.benchmarks.evaluation.views import CASCADE, SINGLE
from foveate.benchmarks.measure.pictures import CONFUSED, MISSED, TOO_MUCH
from foveate.benchmarks.report import page
from foveate.benchmarks.report.evaluation_cards import chosen, image_card, image_scores
from foveate.benchmarks.report.tables.evaluation import evaluation_tables, number, span
from foveate.runtime.io.overlay import BOX_COLOUR
from foveate.runtime.io.png import class_colour

_CURVES = {"dice": "#f0a52c", "iou": "#56b4e9", "precision": "#cc79a7", "recall": "#f0e442"}


def write_page(path: Path, job: EvaluationJob, found: Evaluation, summary: Summary) -> None:
    """Write one self-contained HTML page; the images shown are segmented again for it."""
    method = shown_method(found)
    model, data = job.model.identity, job.dataset.root.resolve().name
    single = f", next to {job.single.identity.name}" if job.single else ""
    values = {
        "title": html.escape(f"{model.name} on {data}"),
        "what": html.escape(
            f"The {model.form} {model.name}{single}, on {summary.images} images of {data} in "
            f"{summary.groups} groups."
        ),
        "facts": page.fact_tiles(_facts(summary, method)),
        "tables": "".join(table.as_html(2) for table in evaluation_tables(summary, job.tolerance)),
        "sweep": _curves([line for line in summary.sweep if line.name == MEAN]),
        "key": _key(found.classes),
        "reliability": "".join(
            _diagram(name, found.reliability[name].table(), summary.ece[name])
            for name in found.methods
        ),
        "images": "".join(
            f"<h2>{title}</h2>" + "".join(image_card(job, found, stem, method) for stem in stems)
            for title, stems in chosen(image_scores(found, method)).items()
        ),
        "machine": html.escape(
            f"foveate {foveate.__version__}, {model.engine}, {platform.machine()}, Python "
            f"{platform.python_version()}. Model sha256 {model.sha256[:16]}, data fingerprint "
            f"{job.dataset.fingerprint[:16]}."
        ),
    }
    page.write_page(path, "evaluation.html", values)


def shown_method(found: Evaluation) -> str:
    """Return the method whose images are shown: the cascade where there is one."""
    return CASCADE if CASCADE in found.methods else SINGLE


def _facts(summary: Summary, method: str) -> list[tuple[str, str, str]]:
    line = next(item for item in summary.lines if (item.method, item.name) == (method, MEAN))
    facts = []
    for name, title, unit in (("dice", f"Dice, {method}", ""), ("hd95", "HD95", " px")):
        figure = line.figures[name]
        ends = f"95% interval {span(figure, name)}"
        facts.append((title, number(figure.value, name) + unit, ends))
    for item in summary.objects:
        if item.method == method and item.objects:
            note = f"{item.false_per_image:.2f} false objects per image"
            facts.append(("Objects found", f"{item.found} of {item.objects}", note))
    if summary.missed is not None:
        miss = summary.missed
        facts.append(("Truth outside the box", f"{miss.pooled:.2%}", miss.losing_words()))
    return facts


def _key(classes: Sequence[str]) -> str:
    """Return the colours of the pictures and what they stand for."""
    box = f'<span><i class="outline" style="color:rgb{BOX_COLOUR}"></i>box</span> '
    colours = [(name, class_colour(label + 1)) for label, name in enumerate(classes)]
    colours += [("found too much", class_colour(TOO_MUCH)), ("missed", class_colour(MISSED))]
    if len(classes) > 1:
        colours.append(("taken for another class", class_colour(CONFUSED)))
    return box + "".join(
        f'<span><i style="background:rgb{colour}"></i>{html.escape(name)}</span> '
        for name, colour in colours
    )


def _curves(lines: Sequence[SweepLine]) -> str:
    """Return the figures over the threshold, each a line in its colour; "" without a sweep."""
    drawn, named = "", ""
    for name, colour in _CURVES.items():
        points = " ".join(
            f"{100 * line.threshold:.1f},{100 - 100 * getattr(line, name):.1f}"
            for line in lines
            if line.threshold is not None and not math.isnan(getattr(line, name))
        )
        drawn += f'<polyline points="{points}" style="stroke:{colour}"/>'
        named += f'<span><i style="background:{colour}"></i>{name}</span> '
    own = [line.threshold for line in lines if line.own and line.threshold is not None]
    drawn += "".join(
        f'<line x1="{100 * value:.1f}" x2="{100 * value:.1f}" y1="0" y2="100"/>' for value in own
    )
    if not lines:
        return ""
    return (
        '<h2>Figures over the threshold</h2><div class="diagrams"><figure>'
        '<svg viewBox="-3 -3 106 106" role="img" aria-label="figures over the threshold">'
        f'<rect width="100" height="100"/>{drawn}</svg><figcaption>Threshold 0 to 1 across, mean '
        "over images and classes 0 to 1 up; dashed: the model's own."
        f'</figcaption></figure></div><p class="key">{named}</p>'
    )


def _diagram(method: str, table: Sequence[ReliabilityBin], ece: float) -> str:
    """Return a reliability diagram: mean probability across, share of truth up."""
    points = [(100 * item.probability, 100 - 100 * item.truth) for item in table if item.pixels]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>' for x, y in points)
    return (
        f'<figure><svg viewBox="-3 -3 106 106" role="img" aria-label="reliability of '
        f'{html.escape(method)}"><rect width="100" height="100"/>'
        f'<line x1="0" y1="100" x2="100" y2="0"/><polyline points="{line}"/>{dots}</svg>'
        f"<figcaption>{html.escape(method)}: ECE {ece:.4f}</figcaption></figure>"
    )
