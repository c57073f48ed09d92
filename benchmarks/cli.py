"""``foveate demo`` and ``foveate evaluate``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foveate.runtime.cli.options import decision_options, pixel_size_option, window_option
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import EngineError


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the page, images, masks and overlays.",
)
@click.option(
    "--count", type=click.IntRange(1), default=24, show_default=True, help="Number of images."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def demo(out: Path, count: int, as_json: bool) -> None:
    """Segment synthetic images with the shipped bundle and write a page to look at.

    Needs no input and no network. The images are made with a seed that no training used.

    \b
    Example:
      foveate demo --out demo
    """
    from foveate.benchmarks.demo import run_demo, score, write_page

    bar = Bar()
    shown = run_demo(count, out, bar.update)
    total = score(shown)
    write_page(out / "index.html", shown, total)
    bar.clear()
    if as_json:
        click.echo(json.dumps(asdict(total)))
        return
    click.echo(
        f"Mean Dice {total.mean:.3f} on {total.images} unseen phantoms with lesion or finding "
        f"({total.large:.3f} on {total.large_images} with lesions over 0.5% of the image); "
        f"{total.empty_right} of {total.empty} empty images left empty"
    )
    click.echo(f"{total.images_per_second:.1f} images/s, array in, mask out, onnxruntime fp32")
    click.echo(f"Page: {(out / 'index.html').resolve()}")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--single", type=click.Path(path_type=Path), help="Single network to compare with.")
@click.option(
    "--list", "stem_list", type=click.Path(path_type=Path), help="File of stems, one a line."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page, CSV and JSON.")
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path),
    help="CSV file for the figures of every image.",
)
@click.option(
    "--tolerance",
    type=float,
    default=2.0,
    show_default=True,
    help="Surface Dice: surfaces within this many pixels count as the same.",
)
@window_option
@pixel_size_option
@decision_options
@click.option("--sweep", is_flag=True, help="Measure MODEL at the thresholds 0.05 to 0.95 too.")
@click.option("--image-dir-name", default="images", show_default=True)
@click.option("--mask-dir-name", default="masks", show_default=True)
@click.option("--mask-threshold", default=0, help="Mask values from this on are foreground.")
@click.option("--mask-values", default="", metavar="NAME=VALUE,...", help="Values of the classes.")
@click.option("--mask-colours", default="", metavar="NAME=#RRGGBB,...", help="Their colours.")
@click.option("--mask-instances", is_flag=True, help="Mask values over 0 number objects.")
@click.option("--ignore-value", default=-1, help="Mask value of pixels without a label.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(model: Path, data: Path, as_json: bool, **options: Any) -> None:
    """Evaluate MODEL, a run or a bundle, on DATA: stage 1 alone next to the cascade.

    A run is evaluated on its validation images unless --list names others; a bundle on all of
    DATA or on --list. --single adds a run or bundle of one network, trained with --stages single,
    on the same images. --out writes index.html, images.csv, objects.csv and summary.json.
    Masks are read as the run's were, unless options say how. --threshold, --smooth, --fill-holes,
    --largest-only and --min-area decide masks as in foveate segment.

    \b
    Example:
      foveate evaluate runs/first data/phantoms --out evaluation
    """
    try:
        from foveate.benchmarks.evaluation_command import Request, run_evaluation
    except ModuleNotFoundError as error:
        raise EngineError(
            f"foveate evaluate needs {error.name}: pip install 'foveate[evaluate]'"
        ) from None
    bar = Bar()
    report = run_evaluation(Request(model, data, **options), bar.update)
    bar.clear()
    click.echo(json.dumps(report.as_json()) if as_json else report.as_text())
