"""``make gpu-references``: the folder that ``make gpu-check`` compares a GPU's masks with.

``python -m foveate.benchmarks.gpu_references OUT --phantoms BUNDLE 8 --set NAME BUNDLE ...``
"""

from __future__ import annotations

import shutil
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.gpu.references import carry_bundle, entry, write_index, write_set
from foveate.benchmarks.images import Images, dataset_images, find_images
from foveate.benchmarks.parity import find_reference
from foveate.benchmarks.variants import Variants
from foveate.runtime.bundle import Bundle, open_bundle
from foveate.runtime.errors import DataError, FoveateError, SettingsError
from foveate.runtime.progress import Bar

PHANTOMS = "phantoms"
PHANTOM_SIZE = 1024
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("out", type=_PATH)
@click.option(
    "--phantoms",
    type=(_PATH, click.IntRange(1)),
    required=True,
    help="BUNDLE of the phantoms, carried along whole, and how many 1024x1024 phantoms.",
)
@click.option(
    "--set", "sets", type=(str, _PATH, _PATH, _PATH, click.IntRange(0)), multiple=True,
    help="NAME BUNDLE DATA LIST COUNT: images of a list, evenly spread over it; 0: all. BUNDLE is "
    "a path below the current folder, and is not carried.",
)  # fmt: skip
def main(out: Path, phantoms: tuple[Path, int], sets: tuple[Any, ...]) -> None:
    """Write images, truths, PyTorch's masks and the reference bundle to the folder OUT, anew."""
    try:
        _write(out, phantoms, sets)
    except FoveateError as error:
        click.echo(error, err=True)
        sys.exit(2)


def _write(out: Path, phantoms: tuple[Path, int], sets: tuple[Any, ...]) -> None:
    if out.exists() and not (out / "references.json").exists() and any(out.iterdir()):
        raise SettingsError(f"{out} holds something else; give a new folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    bundle, count = open_bundle(phantoms[0]), phantoms[1]
    carried = f"bundles/{bundle.path.resolve().name}"
    carry_bundle(bundle, out / carried)
    images = find_images(bundle.spec, None, None, count, PHANTOM_SIZE)
    name, found = _add(out, PHANTOMS, bundle, images)
    entries = [entry(PHANTOMS, bundle, carried, True, found)]
    for label, folder, data, stem_list, most in sets:
        if folder.is_absolute() or ".." in folder.parts or label == PHANTOMS:
            raise SettingsError(f"--set {label} {folder}: wanted a path below the current folder")
        bundle = open_bundle(folder)
        images = dataset_images(data, stem_list, len(bundle.spec.classes) - 1)
        name, found = _add(out, label, bundle, _spread(images, most))
        entries.append(entry(label, bundle, folder.as_posix(), False, found))
    write_index(out, name, datetime.now(timezone.utc).isoformat(timespec="seconds"), entries)
    click.echo(f"{out}: {_mib(out):.1f} MiB in all")


def _add(out: Path, label: str, bundle: Bundle, images: Images) -> tuple[str, dict[str, Any]]:
    """Write one set; return the reference's name and the set's images."""
    reference, bar = find_reference(Variants(bundle)), Bar()
    if "PyTorch is not here" in reference.name:
        raise DataError("the references are PyTorch's masks: pip install 'foveate[train]'")
    found = write_set(out / label, bundle, images, reference, partial(bar.update, label))
    bar.log(f"{label}: {len(found)} images, {_mib(out / label):.1f} MiB")
    return f"{reference.name}, on a CPU, carried along", found


def _spread(images: Images, most: int) -> Images:
    """Return at most so many images, evenly spread; 0 means all."""
    if not most or most >= len(images):
        return images
    return images.only([index * len(images) // most for index in range(most)])


def _mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


if __name__ == "__main__":
    main()
