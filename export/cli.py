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
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle.")
@click.option("--precision", default="fp32,fp16", show_default=True, help="Graphs to write.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data set to measure parity on; default: the run's own, its validation images.",
)
@click.option("--separate", is_flag=True, help="Also write each stage as an ONNX of its own.")
@click.option(
    "--tiles",
    metavar="N|all",
    callback=_tile_number,
    help="For region mode tiles: how many, or all (a sliding window). Default: as training chose.",
)
def export(
    run: Path, out: Path, precision: str, data: Path | None, separate: bool, tiles: int | None
) -> None:
    """Turn the trained RUN into a bundle: one fused ONNX graph per precision.

    Parity with the PyTorch cascade is measured on the validation images and written to
    parity.json; a bundle whose fp32 graph gives other masks is not written.

    \b
    Example:
      foveate export runs/first --out lung.bundle
    """
    try:
        from foveate.export.bundle import ExportJob
        from foveate.export.bundle import export as export_run
        from foveate.export.parity_cases import parity_cases
        from foveate.train.run import read_run
    except ImportError as error:
        raise EngineError(f"export needs {error.name}: pip install 'foveate[train]'") from None

    bar = Bar()
    for stage, found in read_run(run)["stages"].items():
        if not found["done"]:
            bar.log(f"{stage} was not trained to its end; its best epoch so far is exported.")
    names = tuple(dict.fromkeys(name.strip() for name in precision.split(",") if name.strip()))
    cases, source = parity_cases(run, data)
    record = export_run(ExportJob(run, out, names, cases, source, separate, tiles, bar.update))
    for name in names:
        row = record[name]
        change = "no truth" if row["dice_change"] is None else f"{row['dice_change']:+.5f}"
        bar.log(
            f"{name}: disagreement {row['disagreement']:.6f} (bound {row['disagreement_bound']}), "
            f"Dice change {change}, {row['images']} images. {row['how']}"
        )
    size = sum(path.stat().st_size for path in out.iterdir())
    bar.log(f"Bundle in {out}, {size / 1e6:.1f} MB. Next: foveate segment {out} IMAGES --out masks")
