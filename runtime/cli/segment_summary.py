"""What ``foveate segment`` prints at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from foveate.runtime.auto.other_load import BUSY_CORES
from foveate.runtime.errors import one_line
from foveate.runtime.io.paths import skipped_in
from foveate.runtime.spec import GREY, RGB

if TYPE_CHECKING:
    from foveate.runtime.segment.request import Outcome, Request

SHOWN_FAILURES = 10
SHOWN_KINDS = 5
FEW_IMAGES = 64
"""With fewer images what the cores could give says little."""
STAGES = {"decode": "Reading", "engine": "Inference", "encode": "Writing"}


def page_words(values: Mapping[str, Any]) -> str:
    return f" page {values['page']}" if values.get("page") else ""


def print_summary(outcome: Outcome, request: Request) -> None:
    """Print what a run wrote, converted and left out; failures on standard error."""
    report, choice = outcome.report, outcome.choice
    done = f"; {outcome.resumed} done before" if outcome.resumed else ""
    lines = [
        f"{report.written} masks in {outcome.out} ({report.empty} empty{done}), "
        f"{report.seconds:.1f} s, {report.images_per_second:.1f} images/s with files, "
        f"{outcome.bundle.label}, {_used(report.engines) or choice.label}"
    ]
    if report.written >= FEW_IMAGES and request.watch is None:
        lines += _limit(outcome)
    if "auto" in (request.engine, request.precision):
        lines.append(f"engine {choice.label}: {choice.why}")
    lines += _conversions(outcome)
    lines += [
        f"{found['count']} objects of {name}, {found['area_px']} pixels"
        for name, found in outcome.objects.items()
    ]
    if outcome.ranking:
        lines.append(_ranked(outcome.ranking))
    lines += [f"page of this run: {outcome.page}"] if outcome.page else []
    for line in lines:
        click.echo(one_line(line))
    for kind, listed in (("failed", report.failures), ("not finished", outcome.unfinished)):
        for failure in listed[:SHOWN_FAILURES]:
            click.echo(one_line(f"{kind}: {failure.input}: {failure.reason}"), err=True)
    if len(outcome.unfinished) > SHOWN_FAILURES:
        click.echo(f"{len(outcome.unfinished)} not finished", err=True)
    if report.failures:
        click.echo(f"{len(report.failures)} failed, listed in {outcome.failures_file}", err=True)
    _print_skipped(request)


def _ranked(ranking: Mapping[str, Any]) -> str:
    """Return where the order by doubt is, and its first images."""
    first = ", ".join(
        f"{line['input']}{page_words(line)} ({line['doubt']:.3f})" for line in ranking["first"]
    )
    return f"{ranking['file']} has the images by doubt, what to label first: {first or 'none'}"


def _print_skipped(request: Request) -> None:
    """Say which files of the folders were taken for no image."""
    skipped: Counter[str] = Counter()
    for text in request.inputs:
        if os.path.isdir(text):
            skipped += skipped_in(text, request.out, request.recursive)
    if skipped:
        kinds = ", ".join(kind for kind, _ in skipped.most_common(SHOWN_KINDS))
        hint = " (HEIC is not read: convert it to JPEG)" * any(map(_is_heic, skipped))
        click.echo(one_line(f"{skipped.total()} other files there are no images: {kinds}{hint}"))


def _is_heic(kind: str) -> bool:
    return kind.lower() in (".heic", ".heif")


def _limit(outcome: Outcome) -> Iterator[str]:
    """Yield what limits the run, if it is known what other processes took."""
    stages, at = outcome.report.stages, outcome.concurrency
    others = stages["other_cores"]
    if others is None:
        return
    held = f", other processes held {others:.1f}" if others > BUSY_CORES else ""
    yield (
        f"{STAGES[stages['bottleneck']]} limits the speed, "
        f"{100 * stages['share_of_ceiling']:.0f}% of what the cores could give{held} "
        f"(workers: {at.workers}, images a call: {at.batch})"
    )


def _conversions(outcome: Outcome) -> Iterator[str]:
    """Yield how many images were of another type or colour, and how many have few grey levels."""
    report, deep = outcome.report, outcome.bundle.spec.input_type == "uint16"
    converted = report.image_types.get("uint8" if deep else "uint16", 0)
    if converted and deep:
        yield f"{converted} 8-bit images were given to a 16-bit bundle: multiplied by 257"
    elif converted:
        yield f"{converted} 16-bit images were given to an 8-bit bundle: divided by 257"
    if GREY in report.read_as:
        yield f"{report.read_as[GREY]} images in colour were given to a grey bundle: read as grey"
    if RGB in report.read_as:
        yield f"{report.read_as[RGB]} grey images were given to an rgb bundle: repeated three times"
    if report.low_range:
        remedy = "check how they were exposed and saved"
        if converted and not deep:
            remedy = "scale them to the full 16 bits, or train a bundle on 16-bit images"
        yield (
            f"{report.low_range} images have fewer than 16 grey levels for the bundle (low_range), "
            f"the first {report.low_range_first}: {remedy}"
        )


def _used(engines: dict[str, int]) -> str:
    """Return the engine that made the masks; with counts if there was more than one."""
    if len(engines) < 2:
        return "".join(engines)
    return ", ".join(f"{count} by {name}" for name, count in engines.items())
