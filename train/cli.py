"""``foveate phantom``, ``foveate convert`` and ``foveate train``."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from foveate.runtime.cli.progress import Bar
from foveate.train.settings.options import given_values, setting_options, show_settings


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", default=60, show_default=True, help="Number of images.")
@click.option("--size", default=0, show_default=True, help="Side in pixels; 0: 512 to 2048, mixed.")
@click.option("--classes", default=1, show_default=True, help="Foreground classes, 1 to 3.")
@click.option("--bits", default=0, show_default=True, help="8, 16, or 0 to alternate.")
@click.option(
    "--channels",
    type=click.Choice(["grey", "rgb"]),
    default="grey",
    show_default=True,
    help="rgb: lesions differ in hue alone, and grey shows none.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
def phantom(
    out: Path, count: int, size: int, classes: int, bits: int, channels: str, seed: int
) -> None:
    """Write a synthetic data set to OUT: images, masks, train.txt and test.txt.

    An organ-like region with irregular lesions of 0.2 to 5% of the image, uneven light, speckle,
    vessels and look-alikes; one image in ten is empty. Every fifth image goes to test.txt.

    \b
    Example:
      foveate phantom data/phantoms --count 100 --size 1024 --seed 1
    """
    from foveate.train.data.phantom import PhantomSettings, check_free, write_phantoms

    settings = PhantomSettings(count, size, seed, classes, bits, channels=channels)
    check_free(out, settings)
    bar = Bar()
    area = []
    for number, item in enumerate(write_phantoms(out, settings), 1):
        area.append(float((item.mask > 0).mean()))
        bar.update("drawing", number, count)
    bar.clear()
    click.echo(
        f"{count} images in {out}/images, masks next to them; foreground "
        f"{min(area):.2%} to {max(area):.2%} of the image, {area.count(0.0)} empty."
    )


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the images of a COCO file are. Default: its folder.",
)
def convert(source: Path, out: Path, images: Path | None) -> None:
    """Write annotations as a data set for training: OUT/images and OUT/masks.

    IN is a COCO file (polygons or run lengths), a folder of labelme's JSON files (polygons and
    rectangles), or a folder of YOLO segmentation with labels/, images/ and data.yaml or
    classes.txt. Images are copied; those without objects get an empty mask. Where objects overlap,
    the later one counts.

    \b
    Example:
      foveate convert annotations.json data/nuclei --images scans
      foveate convert labelled/ data/nuclei
      foveate convert yolo/ data/nuclei
    """
    from foveate.train.convert.dataset import convert_annotations

    bar = Bar()
    classes, counts = convert_annotations(
        source, out, images, lambda done, total: bar.update("converting", done, total)
    )
    bar.clear()
    named = ", ".join(f"{label} {name}" for label, name in enumerate(classes, 1))
    click.echo(
        f"{len(counts)} images in {out}/images, masks next to them; {sum(counts)} objects, "
        f"{counts.count(0)} images without any. Classes: {named}."
    )
    names = shlex.quote(f"class_names={','.join(classes)}")
    click.echo(f"Next: foveate train {out} --out RUN --set {names}")


@click.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--stages",
    type=click.Choice(["both", "1", "2", "single"]),
    help="What to train; single is one network without stage 2. Default: chosen from the data.",
)
@click.option(
    "--budget",
    type=click.Choice(["fast", "balanced", "best"]),
    default="balanced",
    show_default=True,
    help="Sizes of the networks' views: faster masks or better ones.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings in a TOML file.")
@setting_options()
@click.option(
    "--settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_settings,
    help="Print every setting with its default and meaning, and exit.",
)
@click.option("--list", "stem_list", type=click.Path(path_type=Path), help="File of stems.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Start from the weights of another run, pretrained on other images.",
)
@click.option(
    "--preview",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value="preview",
    metavar="[DIR]",
    help="Train nothing: write pictures of what the networks will see to DIR (preview).",
)
@click.option(
    "--dry-run", is_flag=True, help="Check what can be checked before training, and exit."
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="Cross-validation: --out has a run a fold, and folds.json.",
)
def train(
    data: Path | None,
    out: Path | None,
    stages: str | None,
    budget: str,
    config: Path | None,
    assignments: tuple[str, ...],
    stem_list: Path | None,
    resume: bool,
    init: Path | None,
    preview: Path | None,
    dry_run: bool,
    folds: int | None,
    **options: Any,
) -> None:
    """Train on DATA (images/ and masks/, paired by name) and write the run to --out.

    DATA/train.txt is used when it exists, otherwise all images but those of DATA/test.txt;
    validation images are split off, whole groups of DATA/groups.tsv at a time. What is not set is
    chosen from the data and printed with its reason.

    \b
    Example:
      foveate train data/phantoms --preview
      foveate train data/phantoms --out runs/first --max-minutes 20
      foveate train data/phantoms --out runs/folds --folds 5 --num-epochs 20
      foveate train data/real --out runs/tuned --init runs/first
    """
    from foveate.train.folds import split_into_folds, train_folds
    from foveate.train.training import (
        check,
        explain_resume_on_interrupt,
        prepare,
        preview_of,
        progress_bar,
        train_on,
    )

    folder = preview or out
    if folder is None:
        raise click.UsageError("Missing option '--out'.")
    given = given_values(data, config, assignments, options)
    job = prepare(given, folder, stages, budget, resume, stem_list, init)
    if preview is not None:
        for path in preview_of(job):
            click.echo(path)
        return
    if dry_run:
        if folds is not None:
            split_into_folds(job, folds)
        check(job)
        return
    if find_spec("tensorboard"):
        progress_bar().log(f"To watch the curves: tensorboard --logdir {folder}")
    with explain_resume_on_interrupt(folder):
        if folds is not None:
            click.echo(train_folds(job, folds))
            click.echo(f"Next: foveate export {folder} --out {folder}.bundle")
            return
        train_on(job)
    click.echo(f"Run in {folder}. Next: foveate export {folder} --out {folder}.bundle")
