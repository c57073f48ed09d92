"""``foveate benchmark``: parity, latency, throughput, compare, pareto, report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from foveate.benchmarks.benchmark_options import PATH, Numbers, models_options, target_options
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import EngineError, SettingsError, one_line


@click.group()
def benchmark() -> None:
    """Measure a bundle on this machine: are the masks the same, and how fast are they?

    Without DATA, a data set with images/ and masks/, phantoms are drawn. No speed is shown without
    its parity. --out keeps a result as JSON, and `report` makes a page of such files.

    \b
    Example:
      foveate benchmark latency lung.bundle --batch 1,8 --out latency.json
      foveate benchmark report latency.json --out report
    """


@benchmark.command()
@target_options
@click.option("--pictures", type=PATH, help="Folder for pictures of the worst images.")
def parity(pictures: Path | None, out: Path | None, as_json: bool, **options: Any) -> int:
    """Are the masks the same? Every engine and precision against the PyTorch fp32 cascade.

    Foreground disagreement, change of the mean Dice, masks that are empty on one side only, boxes
    that moved. Without PyTorch the reference is ONNX Runtime fp32, or the masks that PyTorch made
    elsewhere: --reference. Exit code 1 when a bound does not hold. --pictures marks the pixels that
    differ.

    \b
    Example:
      foveate benchmark parity lung.bundle data/lungs --list data/lungs/test.txt --pictures worst
    """
    measure = _measure()
    bar = Bar()
    result, written = measure.parity_result(_target(options), pictures, bar.update)
    bar.clear()
    if not as_json:
        for line in written:
            click.echo(f"wrote {line}")
    return _finish(result, out, as_json)


@benchmark.command()
@target_options
@click.option("--batch", "batches", type=Numbers(1, 1024), default="1", show_default=True)
@click.option("--runs", type=click.IntRange(3), default=50, show_default=True)
@click.option(
    "--rate", "rates", type=float, multiple=True,
    help="Also offer this many requests a second, in an open loop; may be repeated.",
)  # fmt: skip
def latency(
    batches: tuple[int, ...], runs: int, rates: tuple[float, ...], out: Path | None,
    as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """How long does a mask take? Percentiles, stage by stage, against the baseline.

    A call is array in, mask out; the baseline is the engine alone on the same input; a whole is
    file in, file out, with its stages: decode, h2d, execute, d2h, encode. Cold start and memory are
    those of fresh processes. TensorRT runs in its latency mode.

    \b
    Example:
      foveate benchmark latency lung.bundle --size 1024 --batch 1,8 --rate 5 --out latency.json
    """
    if not all(0 < rate <= 1e6 for rate in rates):
        raise SettingsError(f"--rate {rates}: expected more than 0, at most a million a second")
    measure = _measure()
    settings = measure.LatencySettings(batches, runs, rates)
    bar = Bar()
    result = measure.latency_result(_target(options), settings, bar.update)
    bar.clear()
    return _finish(result, out, as_json)


@benchmark.command()
@target_options
@click.option("--batch", "batches", type=Numbers(1, 1024), default="1,4,8", show_default=True)
@click.option(
    "--workers", type=Numbers(1, 1024), default=(),
    help="Cascades side by side that share the threads. Default: 1, 2 and one a core.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=6.0, show_default=True,
    help="How long each batch size and number of workers is measured.",
)  # fmt: skip
def throughput(
    batches: tuple[int, ...], workers: tuple[int, ...], seconds: float, out: Path | None,
    as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """How many images a second, and how many could it be?

    All cores busy, over batch sizes and workers, next to the engine alone in the same run. From
    files to files: the share of the ceiling that decoding, engine and encoding leave, each
    measured alone, and which is the bottleneck. For TensorRT, what its plan and the GPU allow with
    and without copies. The least time that the machine's measured peaks allow for the graph's
    arithmetic and memory (roofline).

    \b
    Example:
      foveate benchmark throughput lung.bundle --batch 1,8 --out throughput.json
    """
    measure = _measure()
    settings = measure.ThroughputSettings(batches, workers, seconds)
    bar = Bar()
    result = measure.throughput_result(_target(options), settings, bar.update)
    bar.clear()
    return _finish(result, out, as_json)


@benchmark.command()
@target_options
@click.option(
    "--single", "singles", type=PATH, multiple=True,
    help="Bundle of one network to compare with; may be repeated.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(0), default=0, show_default=True,
    help="0: 40, and every image at least once.",
)  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1, 1024), default=1, show_default=True, help="Images a call."
)
def compare(
    singles: tuple[Path, ...], rounds: int, batch: int, out: Path | None, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Is it worth it? foveate next to hand-written PyTorch, ONNX Runtime and OpenVINO code.

    The same weights, images and threads, interleaved; the ratios' spread; the Dice of the masks
    that were timed. Needs foveate[train]; OpenVINO where it is installed.

    \b
    Example:
      foveate benchmark compare lung.bundle --single single.bundle --out compare.json
    """
    measure = _measure()
    bar = Bar()
    with _needs("benchmark compare", "train"):
        result = measure.compare_result(_target(options), singles, rounds, batch, bar.update)
    bar.clear()
    return _finish(result, out, as_json)


@benchmark.command()
@models_options
def pareto(
    models: tuple[Path, ...], gpu: int, out: Path | None, as_json: bool, **options: Any
) -> int:
    """Which model for which time? Dice against the milliseconds of an image, on this machine.

    MODEL is a bundle, or a run, which is exported into a temporary folder first. All run
    interleaved, with every engine and precision. The Pareto front is the points that no other
    beats; of the others it says which does. Dice is that of foveate evaluate. Needs foveate[train].

    \b
    Example:
      foveate benchmark pareto small.bundle large.bundle runs/third --data data/lungs \\
          --list data/lungs/val.txt --engines onnxruntime --precision fp32 --out pareto.json
      foveate benchmark report pareto.json --out report
    """
    bar = Bar()
    with _needs("benchmark pareto", "train,benchmark"):
        from foveate.benchmarks.pareto_command import ParetoRequest, pareto_result
        from foveate.benchmarks.schema.machine import show_only

        show_only(gpu)
        request = ParetoRequest(models, command=_words(click.get_current_context()), **options)
        result = pareto_result(request, bar.update)
    bar.clear()
    return _finish(result, out, as_json)


def _measure() -> Any:
    """Return ``foveate.benchmarks.measurements``; EngineError names the extra that is missing."""
    with _needs("benchmark", "benchmark"):
        from foveate.benchmarks import measurements as measure
    return measure


@contextmanager
def _needs(command: str, extras: str) -> Iterator[None]:
    """Turn a missing module into an EngineError that names the extras with it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise EngineError(
            f"foveate {command} needs {error.name}: pip install 'foveate[{extras}]'"
        ) from None


def _target(options: dict[str, Any]) -> Any:
    """Return what is measured, and the command as it was given, without folders in it."""
    measure = _measure()
    from foveate.benchmarks.schema.machine import show_only

    show_only(options.pop("gpu"))
    return measure.Target(**options, command=_words(click.get_current_context()))


def _words(context: click.Context) -> str:
    words = ["foveate", "benchmark", str(context.info_name)]
    for param in context.command.params:
        given = context.get_parameter_source(str(param.name))
        if given != click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[str(param.name)]
        values = value if param.multiple or param.nargs != 1 else [value]
        for item in values:
            text = ",".join(map(str, item)) if isinstance(item, tuple) else str(item)
            text = item.name if isinstance(item, Path) else text
            words += [] if isinstance(param, click.Argument) else [param.opts[0]]
            words += [] if item is True else [text]
    return " ".join(words)


def _finish(result: dict[str, Any], out: Path | None, as_json: bool) -> int:
    """Write and print a result; 1 when its masks differ or its figures contradict each other."""
    from foveate.benchmarks.report.result_text import result_text
    from foveate.benchmarks.schema.consistency import (
        fails,
        find_inconclusive,
        find_issues,
        find_lost,
    )
    from foveate.benchmarks.schema.result_files import write_result

    if out is not None:
        write_result(out, result)
    click.echo(json.dumps(result, allow_nan=False) if as_json else result_text(result))
    for issue in find_issues(result):
        click.echo(f"NOT TO BE BELIEVED: {issue}", err=True)
    for text in find_lost(result).values():
        click.echo(f"MASKS DIFFER: {text}", err=True)
    for issue in find_inconclusive(result):
        click.echo(f"INCONCLUSIVE, the machine was busy: {issue}", err=True)
    if out is not None and not as_json:
        click.echo(f"Result in {out}. Next: foveate benchmark report {out}")
    return int(fails(result))


@benchmark.command()
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option(
    "--out", type=PATH, default=Path("benchmark-report"), show_default=True,
    help="Folder of the page and its plots.",
)  # fmt: skip
def report(files: tuple[Path, ...], out: Path) -> int:
    """Show result files as one page, with plots; check that they do not contradict themselves.

    FILE is what the other benchmark commands write. Exit code 1 when a figure is not to be
    believed: the page is written all the same and says why at its top.

    \b
    Example:
      foveate benchmark report latency.json compare.json --out benchmark-report
    """
    try:
        from foveate.benchmarks.report.report import write_report
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise EngineError(
            f"foveate benchmark report needs {package}: pip install 'foveate[benchmark]'"
        ) from None
    made = write_report(files, out)
    for issue in made.issues:
        click.echo(one_line(f"NOT TO BE BELIEVED: {issue}"), err=True)
    for text in made.lost:
        click.echo(one_line(f"MASKS DIFFER: {text}"), err=True)
    for issue in made.inconclusive:
        click.echo(one_line(f"INCONCLUSIVE, the machine was busy: {issue}"), err=True)
    click.echo(f"Page: {made.page.resolve()}")
    return int(made.fails)
