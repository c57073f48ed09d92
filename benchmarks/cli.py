"""``foveate demo`` and ``foveate evaluate``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from foveate.runtime.errors import DataError
from foveate.runtime.progress import Bar


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder of page, images, masks and overlays.",
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
@click.option("--list", "stem_list", type=click.Path(path_type=Path), help="File of stems.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Dice of every image.")
@click.option("--image-dir-name", default="images", show_default=True)
@click.option("--mask-dir-name", default="masks", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(
    model: Path,
    data: Path,
    stem_list: Path | None,
    csv_path: Path | None,
    image_dir_name: str,
    mask_dir_name: str,
    as_json: bool,
) -> None:
    """Dice of MODEL, a run or a bundle, on DATA: stage 1 alone beside the cascade.

    A run is evaluated on its validation images unless --list names others; a bundle on all of
    DATA or on --list. An image where neither mask nor truth has a class is left out of that
    class's mean and counted apart.

    \b
    Example:
      foveate evaluate runs/first data/phantoms --csv dice.csv
    """
    from foveate.benchmarks import evaluate as evaluation
    from foveate.train.dataset import load_dataset, read_stems

    opened = evaluation.open_model(model)
    stems = read_stems(stem_list) if stem_list else (list(opened.validation) or None)
    bar = Bar()
    dataset = load_dataset(data, image_dir_name, mask_dir_name, stems)
    classes = opened.spec.classes
    if dataset.classes > len(classes) - 1:
        raise DataError(
            f"{data} has masks of {dataset.classes} classes; {model} knows {len(classes) - 1}: "
            f"{', '.join(classes[1:])}"
        )
    rows = evaluation.evaluate(opened, dataset, dataset.stems, bar.update)
    bar.clear()
    summaries = evaluation.summarise(rows, len(classes))
    if csv_path is not None:
        evaluation.write_csv(csv_path, rows, classes)
    if as_json:
        figures = [
            {**asdict(item), "class": "mean" if item.label == 0 else classes[item.label]}
            for item in summaries
        ]
        missed = evaluation.coarse_miss(rows)
        click.echo(
            json.dumps({"images": len(dataset.stems), "coarse_miss": missed, "dice": figures})
        )
        return
    click.echo(f"{len(dataset.stems)} images of {data}" + (f", {stem_list}" if stem_list else ""))
    click.echo(f"{'method':<10} {'class':<16} {'Dice':>7} {'images':>7} {'both empty':>11}")
    for item in summaries:
        name = "mean" if item.label == 0 else classes[item.label]
        line = f"{item.method:<10} {name:<16} {item.dice:>7.4f} {item.images:>7}"
        click.echo(line + (f" {item.both_empty:>11}" if item.label else ""))
    click.echo(f"truth outside the box of stage 2: {evaluation.coarse_miss(rows):.2%}")
