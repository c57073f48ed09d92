"""``foveate tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foveate.runtime.errors import EngineError
from foveate.train.settings.options import given_values, setting_options


@click.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study.")
@click.option("--trials", default=20, show_default=True, help="Total number of finished trials.")
@click.option(
    "--max-minutes", default=0.0, help="No trial starts after this many minutes; 0: no limit."
)
@click.option("--space", type=click.Path(path_type=Path), help="Search space, in TOML.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings of every trial, in TOML.")
@setting_options("max_minutes")
@click.option("--list", "stem_list", type=click.Path(path_type=Path), help="File of stems.")
def tune(
    data: Path | None,
    out: Path,
    trials: int,
    max_minutes: float,
    space: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    stem_list: Path | None,
    **options: Any,
) -> None:
    """Search settings for DATA: trainings whose validation Dice decides what is tried next.

    Every trial is a run in --out/trials; --out/best is the best of them, a run like any other.
    The same command goes on after Ctrl-C or a crash, and adds trials when --trials is larger.
    What is searched by default and how to name it: docs/tuning.md.

    \b
    Example:
      foveate tune data/phantoms --out studies/first --trials 20 --num-epochs 10
      foveate export studies/first/best --out first.bundle
    """
    from foveate.train.settings.settings import Settings
    from foveate.train.training import open_data
    from foveate.train.tuning.space import read_space

    values = given_values(data, config, assignments, options)
    settings = Settings(**values)
    searched = read_space(space, values)
    try:
        from foveate.train.tuning.report import as_text
        from foveate.train.tuning.tune import Plan, tune
    except ImportError as error:
        raise EngineError(f"tuning needs {error.name}: pip install 'foveate[tune]'") from None
    dataset = open_data(settings, stem_list)
    study = tune(dataset, Plan(values, searched, out, trials, max_minutes))
    click.echo(as_text(study))
    if study.best is None:
        click.echo(f"No trial is complete. Go on with the same command and more --trials; {out}")
        return
    click.echo(
        f"Best: {out / 'best'}, trial {study.best.number}; table and picture: {out}/trials.*"
    )
    click.echo(f"Next: foveate export {out / 'best'} --out {out}.bundle")
