"""``foveate segment``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from foveate.runtime.cli.options import (
    decision_options,
    engine_option,
    gpu_option,
    pixel_size_option,
    precision_option,
    trust_option,
    window_option,
    workers_option,
)
from foveate.runtime.cli.progress import Bar
from foveate.runtime.cli.segment_summary import STAGES, page_words, print_summary
from foveate.runtime.errors import one_line
from foveate.runtime.io.output_settings import OUTPUT_KINDS
from foveate.runtime.segment.ray.address import address_filled_in

if TYPE_CHECKING:
    from foveate.runtime.segment.item_worker import Failure, Written
    from foveate.runtime.segment.pipeline import Progress

KEPT = "what was written is kept, --resume continues from there."


class WithRay(click.Command):
    """A command whose ``--ray`` may go without its address, wherever it stands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, address_filled_in(args))


@click.command(cls=WithRay)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the masks.")
@click.option(
    "--list",
    "stem_list",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of INPUT, only the images whose stems are in FILE, one a line, as for evaluate.",
)
@click.option("--recursive", is_flag=True, help="Search subfolders too; OUT gets the same tree.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(OUTPUT_KINDS),
    default="png",
    show_default=True,
    help="PNG masks, NPZ arrays, PNG and a DICOM SEG of each series, or annotations of objects: "
    "COCO run lengths, GeoJSON (QuPath), labelme, Label Studio.",
)
@click.option("--overlay", is_flag=True, help="Also write mask and box, drawn, to OUT/overlays.")
@click.option(
    "--probability", is_flag=True, help="Also write foreground probability to OUT/probability."
)
@click.option("--objects", is_flag=True, help="Also count and measure objects: OUT/objects.csv.")
@click.option(
    "--split",
    type=click.Choice(["touching"]),
    help="With --objects or annotations: cut pieces at their necks, so that objects that touch "
    "count as several.",
)
@click.option("--labels", is_flag=True, help="With --objects: also their numbers, as 16-bit PNG.")
@click.option(
    "--rank",
    is_flag=True,
    help="Also order the images by doubt, what to label next first: OUT/ranking.csv. Each image is "
    "segmented once more, mirrored; takes up to twice the time.",
)
@click.option(
    "--page", is_flag=True, help="Also write OUT/index.html: figures and pictures of all images."
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
@decision_options
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
@click.option("--verbose", is_flag=True, help="Print a line for every image on standard error.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def segment(as_json: bool, verbose: bool, **options: Any) -> int:
    """Segment images with BUNDLE: one mask each, as large as its image, into --out.

    A mask holds classes, not objects: two nuclei that touch are one piece of it. --objects counts
    the pieces of each class and measures them, --split touching divides them at their necks.

    INPUT is a file, a folder (the images directly in it), a quoted glob (** is any number of
    folders), - for a list of files on standard input, or @LIST for one in a file: a path a line,
    or NUL-separated. --list FILE is a list of stems, such as data/test.txt. A TIFF of several pages
    gives a mask a page: scan.p1.png, scan.p2.png; so do frames of DICOM and slices of NIfTI, whose
    masks then become scan.nii.gz. What lies in OUT is not an input.

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
      foveate segment lung.bundle @paths.txt --out masks --shard 2/8
      foveate segment lung.bundle data/images --list data/test.txt --out masks
      foveate segment lung.bundle scans/ --out masks --gpu 1
      foveate segment nuclei.bundle slides/ --out masks --objects --split touching
      foveate segment nuclei.bundle slides/ --out qupath --format geojson
      foveate segment lung.bundle unlabelled/ --out ranked --rank --format labelme
      foveate segment lung.bundle scans/ --out masks --ray auto
      foveate segment lung.bundle --watch inbox/ --out masks --resume
    """
    import cv2

    from foveate.runtime.cli.library_messages import library_messages_dropped
    from foveate.runtime.cli.signals import stopping
    from foveate.runtime.segment.request import Request
    from foveate.runtime.segment.run import segment_run

    cv2.setNumThreads(1)  # every core has a worker
    bar, request = Bar(), Request(**options)
    with library_messages_dropped(), stopping() as stop:
        try:
            outcome = segment_run(
                request, lambda at: _show(bar, at, request.watch, verbose), stop.event
            )
        except KeyboardInterrupt:
            _leave_at_once(bar)
    bar.clear()
    if as_json:
        click.echo(json.dumps(outcome.as_dict()))
    else:
        print_summary(outcome, request)
    if stop.signal:
        how = "Interrupted" if stop.signal == signal.SIGINT else "Terminated"
        click.echo(f"{how}; {KEPT}", err=True)
        return 128 + int(stop.signal)
    return 1 if outcome.report.failures else 0


def _leave_at_once(bar: Bar) -> NoReturn:
    """Exit while workers are in the middle of an image; a normal exit would crash them."""
    bar.clear()
    click.echo(f"Interrupted; {KEPT}", err=True)
    os._exit(130)


def _show(bar: Bar, at: Progress, watched: Path | None, verbose: bool) -> None:
    if verbose and at.outcome is not None:
        bar.clear()
        click.echo(one_line(_line(at.outcome)), err=True)
    notes = [f"{at.failed} failed"] if at.failed else []
    notes += [f"limited by {STAGES[at.bottleneck].lower()}"] if at.bottleneck else []
    if watched is None:
        bar.update("segmenting", at.done, at.total, ", ".join(notes))
        return
    if not at.done:  # everything is checked, images can come
        click.echo(one_line(f"watching {watched}; Ctrl-C or SIGTERM stops it"), err=True)
    else:  # without an end there is no time left to show
        bar.update("watching", at.done, at.done, ", ".join(notes))


def _line(outcome: Written | Failure) -> str:
    """Return the outcome of an image in words."""
    values = outcome.line
    if "reason" in values:
        return f"failed: {values['input']}: {values['reason']}"
    flags = "".join(f", {flag}" for flag in values["flags"])
    took = sum(values["ms"].values())
    return f"{values['input']}{page_words(values)}: {values['mask']}, {took:.0f} ms{flags}"
