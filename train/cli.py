"""``foveate phantom`` and ``foveate train``."""

from __future__ import annotations

from pathlib import Path

import click

from foveate.runtime.errors import DataError, EngineError
from foveate.runtime.progress import Bar


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", default=60, show_default=True, help="Number of images.")
@click.option("--size", default=0, show_default=True, help="Side in pixels; 0: 512 to 2048, mixed.")
@click.option("--classes", default=1, show_default=True, help="Foreground classes, 1 to 3.")
@click.option("--bits", default=0, show_default=True, help="8, 16, or 0 for both by turns.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same images.")
def phantom(out: Path, count: int, size: int, classes: int, bits: int, seed: int) -> None:
    """Write a synthetic data set to OUT: images, masks, train.txt and test.txt.

    An organ-like region with irregular lesions of 0.2 to 5% of the image, uneven light, speckle,
    vessels and look-alikes; one image in ten is empty. Every fifth image goes to test.txt.

    \b
    Example:
      foveate phantom data/phantoms --count 100 --size 1024 --seed 1
    """
    from foveate.train.phantom import PhantomSettings, write_phantoms

    settings = PhantomSettings(count, size, seed, classes, bits)
    bar = Bar()
    area = []
    for number, item in enumerate(write_phantoms(out, settings), 1):
        area.append(float((item.mask > 0).mean()))
        bar.update("drawing", number, count)
    bar.clear()
    click.echo(
        f"{count} images in {out}/images, masks beside them; foreground "
        f"{min(area):.2%} to {max(area):.2%} of the image, {area.count(0.0)} empty."
    )


@click.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--stages",
    type=click.Choice(["both", "1", "2", "single"]),
    default="both",
    show_default=True,
    help="single is the one-stage network that the cascade is compared with.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings in a TOML file.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting.")
@click.option("--max-minutes", type=float, help="Time in all; the schedule runs over it.")
@click.option("--list", "stem_list", type=click.Path(path_type=Path), help="File of stems.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value="preview",
    metavar="[DIR]",
    help="Train nothing: write pictures of what the networks will see to DIR (preview).",
)
def train(
    data: Path | None,
    out: Path | None,
    stages: str,
    config: Path | None,
    assignments: tuple[str, ...],
    max_minutes: float | None,
    stem_list: Path | None,
    resume: bool,
    preview: Path | None,
) -> None:
    """Train on DATA (images/ and masks/, paired by name) and write the run to --out.

    DATA/train.txt is used when it exists; validation images are split off it, whole groups of
    DATA/groups.tsv at a time. Settings and their defaults: docs/training.md.

    \b
    Example:
      foveate train data/phantoms --preview
      foveate train data/phantoms --out runs/first --max-minutes 20 --set width=8 --set depth=3
    """
    from foveate.train.settings import load_settings

    if out is None and preview is None:
        raise click.UsageError("Missing option '--out'.")

    values = list(assignments)
    if max_minutes is not None:
        values.append(f"max_minutes={max_minutes}")
    if data is not None:
        values.append(f"data_dir={data}")
    settings = load_settings(config, values)
    if not settings.data_dir:
        raise DataError("no data set given: foveate train DATA --out RUN, or data_dir in --config")
    try:
        from foveate.train.fit import fit
        from foveate.train.preview import write_preview
        from foveate.train.record import Job
    except ImportError as error:
        raise EngineError(f"training needs {error.name}: pip install 'foveate[train]'") from None
    from foveate.runtime.bundle import RUN_FILE
    from foveate.train.dataset import load_dataset, read_stems

    root = Path(settings.data_dir)
    bar = Bar()
    if stem_list is None and (root / "train.txt").exists():
        stem_list = root / "train.txt"
    stems = read_stems(stem_list) if stem_list else None
    dataset = load_dataset(
        root,
        settings.image_dir_name,
        settings.mask_dir_name,
        stems,
        lambda done, total: bar.update("checking the data", done, total),
    )
    bar.log(
        f"{len(dataset.stems)} images, {dataset.classes} foreground class(es), masks stored as "
        f"{dataset.encoding}, {dataset.input_type}" + (f", from {stem_list}" if stem_list else "")
    )
    if dataset.unpaired:
        shown = ", ".join(dataset.unpaired[:5])
        bar.log(f"{len(dataset.unpaired)} masks have no image and are left out: {shown}")
    if out is None or preview is not None:
        folder = preview or Path("preview")
        for path in write_preview(
            Job(dataset, settings, folder, stages, False, bar.log, bar.update), folder
        ):
            bar.log(str(path))
        return
    try:
        record = fit(Job(dataset, settings, out, stages, resume, bar.log, bar.update))
    except KeyboardInterrupt:
        if (out / RUN_FILE).exists():
            bar.log(f"Whole epochs are kept. Go on with the same command and --resume, --out {out}")
        raise
    for name, stage in record["stages"].items():
        best = max((row["dice"] for row in stage["curve"]), default=0.0)
        bar.log(f"{name}: best validation Dice {best:.4f} at the stage's own resolution")
    bar.log(f"Run in {out}. Next: foveate export {out} --out {out}.bundle")
