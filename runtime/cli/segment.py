"""``foveate segment``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from foveate.runtime.cli.options import (
    engine_option,
    gpu_option,
    pixel_size_option,
    precision_option,
    trust_option,
    window_option,
    workers_option,
)
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import one_line
from foveate.runtime.segment.ray.address import address_filled_in

if TYPE_CHECKING:
    from foveate.runtime.segment.pipeline import Progress
    from foveate.runtime.segment.run import Outcome

SHOWN_FAILURES = 10
PLAIN_S = 10.0
"""Seconds between lines of progress where there is no terminal."""


class WithRay(click.Command):
    """A command whose ``--ray`` may go without its address, wherever it stands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, address_filled_in(args))


@click.command(cls=WithRay)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the masks.")
@click.option("--recursive", is_flag=True, help="Search subfolders too; OUT gets the same tree.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "npz", "coco", "dicom-seg"]),
    default="png",
    show_default=True,
    help="PNG masks, NPZ arrays, COCO RLE, or PNG and a DICOM SEG of each series.",
)
@click.option("--overlay", is_flag=True, help="Also write mask and box, drawn, to OUT/overlays.")
@click.option(
    "--probability", is_flag=True, help="Also write foreground probability to OUT/probability."
)
@click.option("--resume", is_flag=True, help="Continue an earlier run into OUT.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails.")
@click.option("--shard", default="", metavar="I/N", help="Segment shard I of N of the inputs.")
@engine_option
@precision_option
@gpu_option
@trust_option
@window_option
@pixel_size_option
@workers_option
@click.option("--batch", type=click.IntRange(0, 1024), default=0, help="Images a call; 0: auto.")
@click.option(
    "--threads",
    type=click.IntRange(0, 1024),
    default=0,
    help="Engine threads; 0: one a worker, all cores for a few images.",
)
@click.option(
    "--ray",
    default="",
    metavar="[ADDRESS]",
    help="Segment with --workers actors of a Ray cluster: HOST:PORT, or auto for the one this "
    "machine belongs to; without ADDRESS a local one is started.",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Instead of INPUT: segment images as they appear in a folder, until stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def segment(as_json: bool, **options: Any) -> int:
    """Segment images with BUNDLE: one mask each, as large as its image, into --out.

    INPUT is a file, a folder (the images directly in it), a quoted glob (** is any number of
    folders), - for a list of files on standard input, or @LIST for one in a file: a path a line,
    or NUL-separated. A TIFF of several pages gives a mask a page: scan.p1.png, scan.p2.png; so
    do frames of DICOM and slices of NIfTI, whose masks then become scan.nii.gz. What lies in OUT is
    not an input.

    Binary masks are 1-bit PNG (OpenCV reads 0 and 255, Pillow mode "1"), others class indices with
    a palette. OUT/results.jsonl has a line for every image. Exit code 1 when some inputs failed:
    they are in OUT/failures.jsonl, all others are written. Ctrl-C and SIGTERM finish what is in
    flight; --resume continues from there.

    --watch FOLDER takes images as they come, each once it has not changed for two seconds; a mask
    is named after the whole file name (scan.tif.png). It ends by Ctrl-C or SIGTERM, when nothing
    more can be written, or by --fail-fast.

    \b
    Example:
      foveate segment lung.bundle scan.png --out masks
      foveate segment lung.bundle scans/ --recursive --out masks --overlay
      foveate segment lung.bundle 'scans/*.tif' 'more/**/*.png' --out masks --resume
      find scans -name '*.png' -print0 | foveate segment lung.bundle - --out masks --recursive
      foveate segment lung.bundle @list.txt --out masks --shard 2/8
      foveate segment lung.bundle scans/ --out masks --gpu 1
      foveate segment lung.bundle scans/ --out masks --ray auto
      foveate segment lung.bundle --watch inbox/ --out masks --resume
    """
    import cv2

    from foveate.runtime.cli.library_messages import library_messages_dropped
    from foveate.runtime.cli.signals import stopping
    from foveate.runtime.segment.run import Request, segment_run

    cv2.setNumThreads(1)  # every core has a worker
    bar, request = Bar(PLAIN_S), Request(**options)
    with library_messages_dropped(), stopping() as stop:
        try:
            outcome = segment_run(request, lambda at: _show(bar, at, request.watch), stop.event)
        except KeyboardInterrupt:
            _leave_at_once(bar)
    bar.clear()
    if as_json:
        click.echo(json.dumps(outcome.as_dict()))
    else:
        _tell(outcome, options["out"])
    if stop.signal == signal.SIGINT:
        raise click.Abort
    if stop.signal:
        click.echo("Terminated; what was written is kept, --resume continues from there.", err=True)
        return 128 + int(stop.signal)
    return 1 if outcome.report.failures else 0


def _leave_at_once(bar: Bar) -> NoReturn:
    """Exit while workers are in the middle of an image; a normal exit would crash them."""
    bar.clear()
    click.echo("Interrupted; what was written is kept, --resume continues from there.", err=True)
    os._exit(130)


def _show(bar: Bar, at: Progress, watched: Path | None) -> None:
    notes = [f"{at.failed} failed"] if at.failed else []
    notes += [f"{at.bottleneck}-bound"] if at.bottleneck else []
    if watched is None:
        bar.update("segmenting", at.done, at.total, ", ".join(notes))
        return
    if not at.done:  # everything is checked, images can come
        click.echo(one_line(f"watching {watched}; Ctrl-C or SIGTERM stops it"), err=True)
    else:  # without an end there is no time left to show
        bar.update("watching", at.done, at.done, ", ".join(notes))


def _tell(outcome: Outcome, out: Path) -> None:
    report = outcome.report
    stages, rate = report.stages, report.images_per_second
    done = f"; {outcome.resumed} done before" if outcome.resumed else ""
    click.echo(
        f"{report.written} masks in {out} ({report.empty} empty{done}), {report.seconds:.1f} s, "
        f"{rate:.1f} images/s with files, {_used(report.engines) or outcome.choice.label}"
    )
    if report.written:
        share = 100 * stages["share_of_ceiling"]
        at = outcome.concurrency
        actors = f"actors: {at.actors}, each with " if at.actors else ""
        click.echo(
            f"{stages['bottleneck']}-bound, {share:.0f}% of what the cores could give "
            f"({actors}workers: {at.workers}, images a call: {at.batch})"
        )
    click.echo(one_line(f"engine {outcome.choice.label}: {outcome.choice.why}"))
    for failure in report.failures[:SHOWN_FAILURES]:
        click.echo(one_line(f"failed: {failure.input} {failure.reason}"), err=True)
    if report.failures:
        click.echo(f"{len(report.failures)} failed, listed in {outcome.failures_file}", err=True)


def _used(engines: dict[str, int]) -> str:
    """Return the engine that made the masks; with counts if there was more than one."""
    if len(engines) < 2:
        return "".join(engines)
    return ", ".join(f"{count} by {name}" for name, count in engines.items())
