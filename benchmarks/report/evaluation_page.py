"""The page of an evaluation: every figure, and the best, median and worst images to look at."""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from pathlib import Path

import foveate
from foveate.benchmarks.evaluation import tables
from foveate.benchmarks.evaluation.bootstrap import FEW_GROUPS, LEVEL, RESAMPLES
from foveate.benchmarks.evaluation.calibration import ReliabilityBin
from foveate.benchmarks.evaluation.evaluate import Evaluation
from foveate.benchmarks.evaluation.job import Job
from foveate.benchmarks.evaluation.metrics import NAMES
from foveate.benchmarks.evaluation.summary import MEAN, Line, Summary
from foveate.benchmarks.evaluation.views import CASCADE, SINGLE
from foveate.benchmarks.measure.pictures import CONFUSED, MISSED, TOO_MUCH
from foveate.benchmarks.report import pages
from foveate.benchmarks.report.evaluation_cards import chosen, image_card, image_scores
from foveate.runtime.io.overlay import BOX_COLOUR
from foveate.runtime.io.png import class_colour

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
            f"<h2>{title}</h2>" + "".join(image_card(job, found, stem, method) for stem in stems)
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


def _facts(summary: Summary, method: str) -> list[tuple[str, str, str]]:
    line = next(item for item in summary.lines if (item.method, item.name) == (method, MEAN))
    facts = []
    for name, title, unit in (("dice", f"Dice, {method}", ""), ("hd95", "HD95", " px")):
        figure = line.figures[name]
        ends = f"95% interval {tables.span(figure, name)}"
        facts.append((title, tables.number(figure.value, name) + unit, ends))
    for item in summary.objects:
        if item.method == method and item.objects:
            note = f"{item.false_per_image:.2f} false objects per image"
            facts.append(("Objects found", f"{item.found} of {item.objects}", note))
    if summary.missed is not None:
        miss = summary.missed
        facts.append(("Truth outside the box", f"{miss.pooled:.2%}", miss.losing_words()))
    return facts


def _warning(summary: Summary) -> str:
    if summary.groups >= FEW_GROUPS:
        return ""
    return f'<p class="warning">{html.escape(tables.few_groups(summary))}</p>'


def _key(classes: Sequence[str]) -> str:
    """Return the colours of the pictures and what they stand for."""
    colours = [("box", BOX_COLOUR)]
    colours += [(name, class_colour(label + 1)) for label, name in enumerate(classes)]
    colours += [("found too much", class_colour(TOO_MUCH)), ("missed", class_colour(MISSED))]
    if len(classes) > 1:
        colours.append(("taken for another class", class_colour(CONFUSED)))
    return "".join(
        f'<span><i style="background:rgb{colour}"></i>{html.escape(name)}</span> '
        for name, colour in colours
    )


def _figure_table(lines: Sequence[Line]) -> str:
    heads = [tables.HEADS[name] for name in NAMES]
    rows = []
    for line in tables.worth_showing(lines):
        figures = [tables.number(line.figures[name].value, name) for name in NAMES]
        figures.insert(1, tables.span(line.figures["dice"], "dice"))
        rows.append([line.method, line.name, *figures, str(line.images), str(line.both_empty)])
    head = ["method", "class", heads[0], "95% interval", *heads[1:], "images", "empty"]
    return pages.table(head, rows)


def _difference_table(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    rows = []
    for line in tables.worth_showing(lines):
        row = [f"{line.method} - {line.against}", line.name]
        for name in ("dice", "hd95"):
            figure = line.figures[name]
            row += [tables.number(figure.value, name, "+"), tables.span(figure, name, "+")]
        rows.append(row)
    head = ["pair", "class", "Dice", "95% interval", "HD95", "95% interval"]
    return f"<h2>Paired differences</h2>{pages.table(head, rows)}"


def _object_table(summary: Summary) -> str:
    head, *rows = tables.object_rows(summary) or [[]]
    return f"<h2>Objects</h2>{pages.table(head, rows, 'counts')}{OBJECT_NOTE}" if rows else ""


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
