"""``foveate export``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import BundleError, EngineError, SettingsError


def _tile_number(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a number of tiles from 1; 0 for ``all``, None where the option is not given."""
    if value is None or value == "all":
        return None if value is None else 0
    if not value.isdecimal() or int(value) == 0:
        raise click.BadParameter(f'"{value}" is neither a number from 1 nor all')
    return int(value)


@click.command()
@click.argument(
    "models", metavar="RUN...|BUNDLE", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    metavar="REPO",
    help="Model repository of Triton Inference Server to put the bundle into, as one model; for a "
    "BUNDLE --out may be left out.",
)
@click.option(
    "--precision", default="fp32,fp16", show_default=True, help="Graphs to write: fp32, fp16, int8."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data set to measure parity and calibrate int8 on, its train list where it has one; "
    "default: the run's own validation and training images; for a BUNDLE, phantoms.",
)
@click.option("--flips", is_flag=True, help="Average over the image and its mirror image.")
@click.option("--separate", is_flag=True, help="Also write each stage as a separate ONNX file.")
@click.option(
    "--tiles",
    metavar="N|all",
    callback=_tile_number,
    help="For region mode tiles: how many, or all (a sliding window). Default: as trained.",
)
@click.option("--force", is_flag=True, help="Replace the bundle in --out.")
def export(
    models: tuple[Path, ...], out: Path | None, triton: Path | None, force: bool, **options: Any
) -> None:
    """Turn a trained RUN into a bundle: one fused ONNX graph per precision.

    Parity with the PyTorch cascade is measured on the validation images and written to
    parity.json; a bundle whose fp32 or int8 graph gives other masks is not written.
    int8 is calibrated on training images, and the blocks of layers that tolerate 8 bits worst stay
    in float32; this takes minutes. For a BUNDLE the graphs are rebuilt from its weights, and int8
    needs --data. --triton takes one graph, the first of --precision.

    Several RUNs, or a folder of foveate train --folds, become one graph that averages their
    networks; --flips also averages over the mirrored image, for RUNs trained with horizontal_flip.
    The cost is printed, and the validation Dice next to that of the RUNs alone.

    \b
    Example:
      foveate export runs/first --out lung.bundle
      foveate export runs/first runs/second --flips --out ensemble.bundle
      foveate export lung.bundle --out half.bundle --precision fp32,fp16
      foveate export lung.bundle --out fast.bundle --precision fp32,int8 --data scans
      foveate export lung.bundle --triton models
    """
    _check_options(models, out, triton, force, options)
    names = precision_names(options.pop("precision"))
    try:
        if out is not None:
            _export_bundle(models, out, names, **options)
        if triton is not None:
            _export_triton(out or models[0], names[0], triton)
    except ImportError as error:
        raise EngineError(f"export needs {error.name}: pip install 'foveate[train]'") from None


def precision_names(precision: str) -> tuple[str, ...]:
    """Return the precisions of an option; SettingsError where it names none, or one unknown."""
    from foveate.runtime.bundle.bundle import PRECISIONS

    names = tuple(dict.fromkeys(name.strip() for name in precision.split(",") if name.strip()))
    if not names:
        raise SettingsError("--precision is empty; expected fp32, fp16, int8, with commas between")
    unknown = ",".join(name for name in names if name not in PRECISIONS)
    if unknown:
        raise SettingsError(f"--precision {unknown}: this version exports {', '.join(PRECISIONS)}")
    return names


def _check_options(
    models: tuple[Path, ...],
    out: Path | None,
    triton: Path | None,
    force: bool,
    options: dict[str, Any],
) -> None:
    """Raise SettingsError for options that do not go together, BundleError for a bundle in out."""
    from foveate.runtime.bundle.bundle import MANIFEST, is_bundle

    if out is not None and (out / MANIFEST).exists() and not force:
        raise BundleError(f"{out} is a bundle already; --force replaces it")
    if out is None and triton is None:
        raise SettingsError("expected --out BUNDLE, --triton REPO, or both")
    changing = ("data", "flips", "separate", "tiles")
    given = [name for name in changing if options[name] not in (None, False)]
    if out is None and given:
        raise SettingsError(f"--{given[0]} goes with --out: it changes the bundle that is written")
    if out is None and (len(models) > 1 or not is_bundle(models[0])):
        raise SettingsError(f"{models[0]}: is not a bundle; --triton without --out needs one")


def _export_bundle(
    models: tuple[Path, ...],
    out: Path,
    names: tuple[str, ...],
    data: Path | None,
    flips: bool,
    separate: bool,
    tiles: int | None,
) -> None:
    from foveate.export.bundle import ExportJob
    from foveate.export.bundle import export as export_source
    from foveate.export.ensemble import gain, read_sources
    from foveate.export.image_sets import image_sets
    from foveate.export.source import with_tiles

    bar = Bar()
    source = read_sources(models, flips)
    if tiles is not None:
        source = with_tiles(source, tiles)
    for stage in source.unfinished:
        bar.log(f"{stage} is not fully trained; its best epoch so far is exported.")
    images = image_sets(source, data, "int8" in names, partial(bar.update, "reading the images"))
    record = export_source(ExportJob(source, out, names, images, separate, bar.update))
    for name in names:
        row = record[name]
        change = "no truth" if row["dice_change"] is None else f"{row['dice_change']:+.5f}"
        bar.log(
            f"{name}: disagreement {row['disagreement']:.6f} (bound {row['disagreement_bound']}), "
            f"Dice change {change}, {row['images']} images. {row['how']}"
        )
        if "float_blocks" in row:
            kept = ", ".join(row["float_blocks"]) or "none"
            bar.log(f"  calibrated on {row['calibration']['source']}; in float32: {kept}")
    if source.alone:
        bar.log(gain(source, images.parity, partial(bar.update, "comparing with the runs")))
    size = sum(path.stat().st_size for path in out.iterdir())
    bar.log(f"Bundle in {out}, {size / 1e6:.1f} MB. Next: foveate segment {out} IMAGES --out masks")


def _export_triton(model: Path, precision: str, repository: Path) -> None:
    from foveate.export.triton import write_triton_model
    from foveate.runtime.bundle.bundle import open_bundle

    folder = write_triton_model(open_bundle(model), precision, repository)
    Bar().log(
        f"Model {folder.name}, {precision}, in {repository}. Next: tritonserver "
        f"--model-repository {repository}"
    )
