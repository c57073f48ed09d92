"""``foveate export``."""

from __future__ import annotations

from pathlib import Path

import click

from foveate.runtime.errors import EngineError
from foveate.runtime.progress import Bar


def _tile_number(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Return a number of tiles from 1; 0 for ``all``, None where the option is not given."""
    if value is None or value == "all":
        return None if value is None else 0
    if not value.isdecimal() or int(value) == 0:
        raise click.BadParameter(f'"{value}" is neither a number from 1 nor all')
    return int(value)


@click.command()
@click.argument("model", metavar="RUN|BUNDLE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle.")
@click.option(
    "--precision", default="fp32,fp16", show_default=True, help="Graphs to write: fp32, fp16, int8."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data set to measure parity and calibrate int8 on, its train list where it has one; "
    "default: the run's own, its validation images and its training images.",
)
@click.option("--separate", is_flag=True, help="Also write each stage as an ONNX of its own.")
@click.option(
    "--tiles",
    metavar="N|all",
    callback=_tile_number,
    help="For region mode tiles: how many, or all (a sliding window). Default: as it has.",
)
def export(
    model: Path, out: Path, precision: str, data: Path | None, separate: bool, tiles: int | None
) -> None:
    """Turn a trained RUN into a bundle: one fused ONNX graph per precision.

    Parity with the PyTorch cascade is measured on the validation images and written to
    parity.json; a bundle whose fp32 or int8 graph gives other masks is not written.
    int8 is calibrated on training images, and the blocks of layers that bear 8 bits worst stay in
    float32; this takes minutes. Of a BUNDLE the graphs are made anew from its weights, and --data
    is needed.

    \b
    Example:
      foveate export runs/first --out lung.bundle
      foveate export lung.bundle --out fast.bundle --precision fp32,int8 --data scans
    """
    try:
        from foveate.export.bundle import ExportJob, check_precisions
        from foveate.export.bundle import export as export_source
        from foveate.export.image_sets import image_sets
        from foveate.export.source import read_source, with_tiles
    except ImportError as error:
        raise EngineError(f"export needs {error.name}: pip install 'foveate[train]'") from None

    bar = Bar()
    names = tuple(dict.fromkeys(name.strip() for name in precision.split(",") if name.strip()))
    check_precisions(names)
    source = read_source(model)
    if tiles is not None:
        source = with_tiles(source, tiles)
    for stage in source.unfinished:
        bar.log(f"{stage} was not trained to its end; its best epoch so far is exported.")
    images = image_sets(source, data, "int8" in names)
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
    size = sum(path.stat().st_size for path in out.iterdir())
    bar.log(f"Bundle in {out}, {size / 1e6:.1f} MB. Next: foveate segment {out} IMAGES --out masks")
