"""The paired difference of two evaluations on the same images.

``python -m foveate.benchmarks.scripts.paired A/images.csv B/images.csv`` takes what
``foveate evaluate --out`` wrote of two models and prints the mean Dice of both cascades and A - B
with its 95% interval, groups resampled as in ``foveate evaluate``.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np

from foveate.benchmarks.evaluation import bootstrap
from foveate.benchmarks.evaluation.bootstrap import Interval
from foveate.benchmarks.evaluation.views import CASCADE
from foveate.runtime.errors import DataError, one_line

Scores = dict[tuple[str, str], float]
"""Stem and class -> Dice, NaN where neither mask nor truth has the class."""


def read_dice(path: Path, method: str) -> tuple[Scores, dict[str, str]]:
    """Return the Dice of a method and the group of every stem, from an ``images.csv``.

    DataError when the file is none, or knows no such method.
    """
    scores: Scores = {}
    groups: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                groups[row["stem"]] = row["group"]
                if row["method"] == method:
                    key = row["stem"], row["class"]
                    scores[key] = float(row["dice"]) if row["dice"] else float("nan")
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not an images.csv of foveate evaluate ({error})") from None
    if not scores:
        raise DataError(f'{path}: nothing of the method "{method}" in it')
    return scores, groups


def paired_difference(ours: Path, theirs: Path, method: str) -> tuple[Interval, Interval, Interval]:
    """Return the mean Dice of both files and their difference, each with its 95% interval.

    DataError when they are not of the same images and classes.
    """
    found, groups = read_dice(ours, method)
    other, _ = read_dice(theirs, method)
    if found.keys() != other.keys():
        raise DataError(f"{ours} and {theirs} are not of the same images and classes")
    stems = sorted({stem for stem, _ in found})
    classes = sorted({name for _, name in found})
    values = np.array(
        [[[table[s, c] for s in stems] for c in classes] for table in (found, other)], np.float64
    )
    draws = bootstrap.resample(values, [groups[stem] for stem in stems])
    whole, resampled = draws.whole[:, -1], draws.resampled[:, :, -1]
    return (
        bootstrap.interval(whole[0], resampled[:, 0]),
        bootstrap.interval(whole[1], resampled[:, 1]),
        bootstrap.interval(whole[0] - whole[1], resampled[:, 0] - resampled[:, 1]),
    )


@click.command()
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@click.option("--method", default=CASCADE, show_default=True)
def main(ours: Path, theirs: Path, method: str) -> None:
    """Print the mean Dice of OURS and THEIRS, two images.csv, and the paired difference."""
    try:
        intervals = paired_difference(ours, theirs, method)
    except DataError as error:
        raise click.UsageError(one_line(str(error))) from None
    for name, found in zip((ours, theirs, "difference"), intervals, strict=True):
        click.echo(f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]  {name}")


if __name__ == "__main__":
    main()
