"""``make gpu-references``: what ``make gpu-check`` compares a GPU's masks with, in one folder.

``python benchmarks/scripts/gpu_references.py OUT BUNDLE COUNT [--set NAME DATA LIST COUNT]...``

A folder for each set (``foveate benchmark --reference``), and an archive of each bundle. The
examples have no fp16 graph; the one in their archives is exported here.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

import click

from foveate.benchmarks.measure.images import Images, dataset_images, find_images
from foveate.benchmarks.measure.parity import find_reference
from foveate.benchmarks.measure.stored_reference import write_reference
from foveate.benchmarks.measure.targets import Variants
from foveate.runtime.bundle.bundle import MANIFEST, Bundle, open_bundle
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import DataError, FoveateError, SettingsError

PHANTOMS, ARCHIVE, PHANTOM_SIZE = "phantoms", "bundle.tar.xz", 1024
EXAMPLES = Path(__file__).parents[2] / "examples"
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("out", type=_PATH)
@click.argument("bundle", type=_PATH)
@click.argument("count", type=click.IntRange(1))
@click.option("--size", type=click.IntRange(128), default=PHANTOM_SIZE, help="Of the phantoms.")
@click.option(
    "--set", "sets", type=(str, _PATH, _PATH, click.IntRange(0)), multiple=True,
    help="NAME DATA LIST COUNT: an example, and images of a list, evenly spread; 0: all.",
)  # fmt: skip
def main(
    out: Path, bundle: Path, count: int, size: int, sets: tuple[tuple[str, Path, Path, int], ...]
) -> None:
    """Write COUNT phantoms with PyTorch's masks of BUNDLE, and other sets, to the folder OUT."""
    try:
        if out.exists() and any(out.iterdir()) and not (out / ARCHIVE).exists():
            raise SettingsError(f"{out} holds something else; give a new folder")
        shutil.rmtree(out, ignore_errors=True)
        own = open_bundle(bundle)
        _write(out / PHANTOMS, own, find_images(own, None, None, count, size))
        _archive(own, out / ARCHIVE)
        for name, data, stems, most in sets:
            example = open_bundle(EXAMPLES / name)
            images = dataset_images(data, stems, example)
            _write(out / name, example, _spread(images, most))
            with tempfile.TemporaryDirectory() as folder:
                _archive(_with_fp16(example, Path(folder, name)), out / name / ARCHIVE)
        click.echo(f"{out}: {_mib(out):.1f} MiB in all")
    except FoveateError as error:
        click.echo(error, err=True)
        sys.exit(2)


def _write(folder: Path, bundle: Bundle, images: Images) -> None:
    reference, bar = find_reference(Variants(bundle)), Bar()
    if "PyTorch is not here" in reference.name:
        raise DataError("the references are PyTorch's masks: pip install 'foveate[train]'")
    write_reference(folder, bundle, images, reference, partial(bar.update, folder.name))
    bar.log(f"{folder.name}: {len(images)} images, {_mib(folder):.1f} MiB")


def _with_fp16(bundle: Bundle, folder: Path) -> Bundle:
    """Export a bundle anew, with a graph in fp16 next to its own."""
    from foveate.export.bundle import ExportJob, export
    from foveate.export.image_sets import image_sets
    from foveate.export.source import read_source

    source = read_source(bundle.path)
    sets, bar = image_sets(source, None, int8=False), Bar()
    export(ExportJob(source, folder, ("fp32", "fp16"), sets, False, bar.update))
    return open_bundle(folder)


def _spread(images: Images, most: int) -> Images:
    """Return at most so many images, evenly spread; 0 means all."""
    if not most or most >= len(images):
        return images
    return images.only([index * len(images) // most for index in range(most)])


def _archive(bundle: Bundle, path: Path) -> None:
    """Write a bundle's manifest and the files that it lists."""
    contents = {MANIFEST: bundle.manifest_bytes}
    contents |= {name: bundle.read(name) for name in sorted(bundle.manifest["files"])}
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


if __name__ == "__main__":
    main()
