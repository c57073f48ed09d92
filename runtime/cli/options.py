"""Define the options shared by every command that runs a bundle."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from foveate.runtime.errors import SettingsError

engine_option = click.option(
    "--engine", default="auto", show_default=True, help="auto, or one of foveate info."
)
precision_option = click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="auto, fp32, fp16, int8 (CPU only), tf32 (TensorRT) or bf16 (OpenVINO).",
)
gpu_option = click.option(
    "--gpu",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of the GPU, as CUDA counts them.",
)
trust_option = click.option(
    "--trust",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="KEY",
    help="Refuse BUNDLE unless this public key signed it; may be given several times.",
)
window_option = click.option(
    "--window",
    default="",
    metavar="LOW,HIGH",
    help="Values that are black and white in images of signed, 32-bit or float pixels.",
)
pixel_size_option = click.option(
    "--pixel-size",
    default="",
    metavar="SIZE",
    help="Size of a pixel, such as 0.5um or 0.25x0.5mm (width first); default: as files state it.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(0, 1024), default=0, help="Images in flight; 0: auto."
)


def parse_sizes(
    context: click.Context, option: click.Parameter, text: str
) -> tuple[tuple[int, int], ...]:
    """Return (height, width) of each size in ``1024x1024,768x1024``: the callback of an option."""
    sizes = []
    for word in filter(None, text.split(",")):
        sides = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", word.strip().lower())
        if sides is None:
            raise SettingsError(f'{option.opts[0]} "{word}": expected HxW, such as 1024x1024')
        sizes.append((int(sides[1]), int(sides[2])))
    return tuple(sizes)


_DECISION = (
    click.option(
        "--threshold",
        metavar="T",
        help="Foreground: probability over T; or one a class: nerve=0.3,vessel=0.5.",
    ),
    click.option(
        "--smooth", default="0", metavar="LENGTH", help="Median of this radius, such as 2px, 1.5um."
    ),
    click.option("--fill-holes", is_flag=True, help="Fill what a class encloses."),
    click.option("--largest-only", is_flag=True, help="Keep the largest piece of each class."),
    click.option(
        "--min-area", default="0", metavar="AREA", help="Drop smaller pieces: 30px, 12um2, 0.5mm2."
    ),
)


def decision_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a Decision to a command, which receives it as ``decide``."""

    @wraps(command)
    def decided(**options: Any) -> Any:
        from foveate.runtime.cascade.decision import Decision

        names = ("threshold", "smooth", "fill_holes", "largest_only", "min_area")
        return command(decide=Decision(**{name: options.pop(name) for name in names}), **options)

    for option in reversed(_DECISION):
        decided = option(decided)
    return decided
