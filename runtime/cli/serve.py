"""``foveate serve``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from foveate.runtime.cli.options import (
    decision_options,
    engine_option,
    gpu_option,
    parse_sizes,
    precision_option,
    trust_option,
    window_option,
    workers_option,
)
from foveate.runtime.errors import one_line

if TYPE_CHECKING:
    from foveate.runtime.serve.run import Listening


def _number(context: click.Context, option: click.Parameter, value: float) -> float:
    """Return a number; refuse nan, which passes every range check."""
    if math.isnan(value):
        raise click.BadParameter("nan is not a number")
    return value


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at: this machine's."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free."
)
@click.option(
    "--max-megabytes",
    type=click.IntRange(1, 2047),
    default=64,
    show_default=True,
    help="Largest upload.",
)
@click.option(
    "--max-megapixels",
    type=click.IntRange(1, 512),
    default=64,
    show_default=True,
    help="Largest image; of 1,048,576 pixels each.",
)
@click.option(
    "--queue",
    type=click.IntRange(0, 100_000),
    default=64,
    show_default=True,
    help="Images that may wait; one more gets a 429.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86_400),
    callback=_number,
    default=60.0,
    show_default=True,
    help="Seconds an image may wait and take; then 503.",
)
@engine_option
@precision_option
@gpu_option
@trust_option
@window_option
@decision_options
@workers_option
@click.option(
    "--batch",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Images of one size segmented together, where they meet within 20 ms.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 1024),
    default=0,
    help="Engine threads; 0: one a worker, most images a second. More: one image sooner.",
)
@click.option(
    "--sizes",
    default="",
    callback=parse_sizes,
    metavar="HxW[,HxW]",
    help="Sizes that will come, such as 1024x1024: OpenVINO is faster for sizes it knows, within "
    "the bounds of parity.",
)
def serve(bundle: Path, **options: Any) -> int:
    """Segment images over HTTP with BUNDLE.

    POST an image file to /mask (PNG), /overlay (JPEG), /result (JSON) or /all (JSON with both
    pictures); GET / is a page to drop an image on, /metrics is for Prometheus, /health/live and
    /health/ready for a supervisor. The masks are those of foveate segment, byte for byte, but
    where an engine was compiled for a size (--sizes; segment: of 500 images or more).

    It listens on this machine only unless --host says otherwise, and has neither TLS nor
    passwords: put a proxy in front. SIGTERM and Ctrl-C answer the requests in flight and exit
    with code 0; a second Ctrl-C exits at once, with 130.

    \b
    Example:
      foveate serve lung.bundle
      curl --data-binary @scan.png http://127.0.0.1:8000/mask -o mask.png
      curl --data-binary @scan.png http://127.0.0.1:8000/result
    """
    import cv2

    from foveate.runtime.cli.library_messages import library_messages_dropped
    from foveate.runtime.cli.signals import stopping
    from foveate.runtime.serve.run import ServeRequest, serve_run
    from foveate.runtime.serve.settings import Limits

    cv2.setNumThreads(1)  # every core has a worker
    limits = Limits(
        max_bytes=options.pop("max_megabytes") << 20,
        max_pixels=options.pop("max_megapixels") << 20,
        queue=options.pop("queue"),
        response_s=options.pop("timeout"),
    )
    request = ServeRequest(bundle, limits=limits, **options)
    with library_messages_dropped(), stopping(_leave_at_once) as stop:
        serve_run(request, lambda there: _tell(there, request.host), stop.event)
    click.echo("Stopped; the requests in flight were answered.", err=True)
    return 0


def _leave_at_once() -> NoReturn:
    """Exit while requests are in flight; a normal exit would wait for them."""
    click.echo("Stopped at once; the requests in flight were not answered.", err=True)
    os._exit(130)


def _tell(there: Listening, host: str) -> None:
    local = host in ("127.0.0.1", "::1", "localhost")
    who = "only this machine can reach it" if local else "others can reach it: no TLS, no password"
    at = there.concurrency
    click.echo(
        one_line(
            f"{there.url} ({there.bundle}, {there.engine}, workers: {at.workers}, images a call: "
            f"{at.batch}); {who}. Ctrl-C or SIGTERM stops it"
        )
    )
