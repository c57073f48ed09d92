"""``foveate build``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foveate.runtime.atomic_files import check_writable
from foveate.runtime.cli.options import gpu_option, parse_sizes
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import SettingsError

if TYPE_CHECKING:
    from foveate.runtime.engines.tensorrt.build_options import BuildOptions
    from foveate.runtime.engines.tensorrt.plan_cache import PlanCache

SAME_NAMES = (
    "workspace_mb",
    "optimisation_level",
    "timing_cache",
    "version_compatible",
    "hardware_compatible",
)
"""Options of the command line that BuildOptions has under the same name."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--engine", type=click.Choice(["tensorrt"]), default="tensorrt", show_default=True)
@click.option(
    "--precision",
    default="fp16",
    show_default=True,
    help="fp16, fp32, or tf32: the fp32 graph, float32 products rounded to 10 bits.",
)
@click.option("--batch", default="1,1,1", show_default=True, help="MIN,OPT,MAX images per call.")
@click.option(
    "--size",
    callback=parse_sizes,
    metavar="HxW[,HxW]",
    default="",
    help="Sizes of the images, the most common first.",
)
@click.option(
    "--workspace",
    "workspace_mb",
    type=int,
    default=0,
    help="Limit of the workspace in MB; 0: TensorRT's.",
)
@click.option(
    "--optimisation-level",
    type=int,
    default=3,
    show_default=True,
    help="0 to 5: from fastest to build to fastest to run.",
)
@click.option(
    "--target",
    default="",
    help="TensorRT-RTX: compute capabilities, for example sm86,sm89; or current: this GPU alone.",
)
@click.option(
    "--timing-cache", is_flag=True, help="TensorRT: keep kernel timings for the next build."
)
@click.option("--version-compatible", is_flag=True, help="TensorRT: run in later versions too.")
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="TensorRT: run on every GPU from Ampere on; not for Jetson.",
)
@gpu_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Also write the plan to a file, and FILE.json next to it.",
)
@click.option(
    "--import",
    "import_file",
    type=click.Path(path_type=Path),
    help="Put a plan written by --out into the cache.",
)
@click.option("--list", "list_", is_flag=True, help="List the plans in the cache.")
@click.option("--verify", is_flag=True, help="Read every plan and compare it with its sha256.")
@click.option(
    "--prune", is_flag=True, help="Remove plans that are damaged, unfinished or of another version."
)
def build(bundle: Path | None, **given: Any) -> int:
    """Build a TensorRT plan of BUNDLE for this device into the cache.

    With TensorRT-RTX no GPU is needed, and the plan runs on the GPUs of its targets (all from sm80
    on when none is given); the full TensorRT builds on the GPU of --gpu, and for it. A plan that is
    in the cache already is not built again. The cache is in FOVEATE_CACHE, else in the user's cache
    folder. --list, --verify, --prune and --import take no BUNDLE.

    \b
    Example:
      foveate build lung.bundle --precision fp16 --batch 1,1,8 --size 1024x1024,512x512
      foveate build lung.bundle --size 1024x1024 --gpu 1
      foveate build lung.bundle --size 1024x1024 --target sm86,sm89 --out lung.plan
      foveate build --import lung.plan
    """
    from foveate.runtime.engines.tensorrt.plan_cache import plan_cache

    care = [name for name in ("list_", "verify", "prune", "import_file") if given[name]]
    if len(care) + (bundle is not None) != 1:
        raise SettingsError(
            "expected either a BUNDLE to build, or one of --list, --verify, --prune, --import FILE"
        )
    cache = plan_cache()
    if bundle is not None:
        return _build(cache, bundle, given)
    return {"list_": _list, "verify": _verify, "prune": _prune, "import_file": _import}[care[0]](
        cache, given
    )


def _build(cache: PlanCache, folder: Path, given: dict[str, Any]) -> int:
    from foveate.export.tensorrt.plan_job import PlanJob, build_into
    from foveate.runtime.bundle.bundle import open_bundle
    from foveate.runtime.engines.tensorrt.plan_cache import export_plan
    from foveate.runtime.engines.tensorrt.toolkit import toolkit
    from foveate.runtime.limits import largest_channels

    bar = Bar()
    bundle, options = open_bundle(folder), _options(given)
    if given["out"]:
        check_writable(given["out"].parent)
    options.check(largest_channels(bundle.spec, bundle.width))
    kit = toolkit()
    job = PlanJob(
        bundle,
        given["precision"],
        options,
        kit,
        bar.update,
        lambda: bar.log(f"another process is building into {cache.folder}; waiting for it"),
        given["gpu"],
    )
    record, built = build_into(cache, job)
    bar.log(
        f"{'Built by' if built else 'In the cache already, of'} {kit}: {record}, "
        f"{record.build_seconds:.1f} s. {cache.path(record.key, '.plan')}"
    )
    if given["out"]:
        record_path = export_plan(cache, record, given["out"])
        bar.log(f"Copied to {given['out']} and {record_path}")
    return 0


def _options(given: dict[str, Any]) -> BuildOptions:
    from foveate.runtime.engines.tensorrt.build_options import BuildOptions, in_order

    batch = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9})", given["batch"].replace(" ", ""))
    if batch is None:
        raise SettingsError(f"--batch is {given['batch']}; expected MIN,OPT,MAX, for example 1,1,8")
    targets = sorted({name.lower() for name in _words(given["target"])}, key=in_order)
    return BuildOptions(
        given["size"],
        (int(batch[1]), int(batch[2]), int(batch[3])),
        targets=tuple(targets),
        **{name: given[name] for name in SAME_NAMES},
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _list(cache: PlanCache, given: dict[str, Any]) -> int:
    for entry in cache.entries():
        record, words = entry.record, entry.problem
        if record is not None:
            words = f"{record}, {record.recipe.flavour} {record.recipe.version}"
        click.echo(f"{entry.key[:12]} {words}")
    click.echo(f"{len(cache.entries())} in {cache.folder}")
    return 0


def _verify(cache: PlanCache, given: dict[str, Any]) -> int:
    entries = cache.verify()
    broken = [entry for entry in entries if entry.problem]
    for entry in broken:
        click.echo(f"{entry.key[:12]} {entry.problem}", err=True)
    click.echo(f"{len(entries) - len(broken)} of {len(entries)} plans are as they were built")
    return 1 if broken else 0


def _prune(cache: PlanCache, given: dict[str, Any]) -> int:
    from foveate.runtime.engines.tensorrt.plan_cache import prune
    from foveate.runtime.engines.tensorrt.toolkit import installed_toolkits

    removed = prune(cache, {kit.flavour: kit.version for kit in installed_toolkits()})
    for name, why in removed:
        click.echo(f"removed {name}: {why}")
    click.echo(f"{len(removed)} files removed, {len(cache.entries())} plans kept")
    return 0


def _import(cache: PlanCache, given: dict[str, Any]) -> int:
    from foveate.runtime.engines.tensorrt.plan_cache import import_plan

    record = import_plan(cache, given["import_file"])
    click.echo(f"{record} is in {cache.folder}")
    return 0
