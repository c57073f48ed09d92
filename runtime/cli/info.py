"""``foveate info``."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foveate import __version__
from foveate.runtime.auto.choose import Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing_child import idle_timer
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.bundle.describe import bundle_facts
from foveate.runtime.cli.options import gpu_option
from foveate.runtime.engines.cuda.query import GpuFacts, NoGpu, driver_cuda, gpus
from foveate.runtime.engines.hardware import ROOT, available_cores, cpu_quota, jetson
from foveate.runtime.engines.install_lines import install_lines
from foveate.runtime.engines.installed import EngineFacts, Piece, clashes, engine_facts
from foveate.runtime.engines.tensorrt.plan_cache import plan_cache
from foveate.runtime.errors import one_line


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@gpu_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(bundle: Path | None, gpu: int, as_json: bool) -> None:
    """Show the engines here, what is missing and the line that installs it.

    With BUNDLE, what it holds and what runs it here, each engine in a line: the engine that auto
    takes, timed, plans looked for on the GPU of --gpu, and the plans in the cache. What it is on
    any machine is foveate bundle show.

    \b
    Example:
      foveate info lung.bundle
    """
    facts = machine_facts()
    if bundle is not None:
        opened = open_bundle(bundle)
        facts["bundle"] = bundle_facts(opened) | facts_here(opened, gpu)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.get("bundle", {}).items():
        click.echo(one_line(f"{name}: {value}"))
    for line in machine_lines(facts, install=bundle is None):
        click.echo(one_line(line))


def facts_here(bundle: Bundle, gpu: int = 0) -> dict[str, str]:
    """Return what ``auto`` takes here, what it does not consider, and the plans in the cache.

    The engines of a CPU are timed for it, with all cores and with one, unless they were before or
    the machine is busy. ``gpu``: the number of the GPU that plans would run on.
    """
    one_by_one = choose(bundle, speeds=Speeds(available_cores(), idle_timer()), gpu=gpu)
    facts = {"auto": _words(one_by_one)}
    if one_by_one.engine_ms and available_cores() > 1:
        folder = choose(bundle, speeds=Speeds(1, idle_timer()), gpu=gpu)
        facts["auto, a folder"] = _words(folder)
    for label, reason in one_by_one.left_out.items():
        facts[f"auto without {label}"] = reason
    return facts | _plans(bundle)


def _words(choice: Choice) -> str:
    return f"{choice.label}; {choice.why}"


def _plans(bundle: Bundle) -> dict[str, str]:
    """Return the TensorRT plans of the bundle in the cache of this user, in words."""
    graphs = {bundle.graph_sha256(name) for name in bundle.precisions}
    return {
        f"plan {record.key[:12]}": str(record)
        for record in plan_cache().records()
        if record.recipe.graph_sha256 in graphs
    }


def machine_facts(root: Path = ROOT, architecture: str = "") -> dict[str, Any]:
    """Return versions, GPUs and engines of this machine; makes no CUDA context.

    ``architecture`` is this machine's unless given; ``root`` is where a Jetson's files are read.
    """
    here = jetson(root, architecture)
    found, reason = _gpus()
    cuda = driver_cuda()
    lines = install_lines(here, cuda)
    engines = engine_facts(lines, found[0].name if found else "")
    return {
        "foveate": __version__,
        "python": platform.python_version(),
        "cores": available_cores(),
        "cpu_quota": cpu_quota(root),
        "machine": f"{platform.system()} {architecture or platform.machine()}",
        "jetson": asdict(here) | {"jetpack": here.jetpack, "name": str(here)} if here else None,
        "gpus": [asdict(item) | {"text": str(item)} for item in found],
        "no_gpu": reason,
        "driver_cuda": cuda,
        "clashes": [asdict(item) for item in clashes(lines)],
        "engines": {item.name: _engine(item) for item in engines},
    }


def machine_lines(facts: dict[str, Any], install: bool = True) -> Iterator[str]:
    """Yield the facts as lines; ``install``: with the line to type for what is missing."""
    quota = f", CPU quota {facts['cpu_quota']:g}" if facts["cpu_quota"] else ""
    yield f"foveate {facts['foveate']}, Python {facts['python']}, {facts['machine']}"
    yield f"cores: {facts['cores']}{quota}"
    if facts["jetson"]:
        yield facts["jetson"]["name"]
    for item in facts["gpus"]:
        yield f"GPU: {item['text']}"
    if facts["no_gpu"]:
        yield f"no GPU: {facts['no_gpu']}"
    if facts["driver_cuda"]:
        yield f"NVIDIA driver: runs CUDA {facts['driver_cuda']} and older"
    for clash in facts["clashes"]:
        packages = " and ".join(clash["packages"])
        yield f"{packages} overwrite each other in the folder {clash['folder']}; keep one:"
        yield f"    {clash['install']}"
    for name, engine in facts["engines"].items():
        pieces = [Piece(**piece) for piece in engine["pieces"]]
        if install:
            yield f"engine {name}: {'ready' if engine['ready'] else 'not ready'}"
            for piece in pieces:
                yield from _lines(piece)
        elif engine["ready"]:
            found = (f"{piece.name} {piece.found}" for piece in pieces if piece.found)
            yield f"engine {name}: {', '.join(found)}"
        else:
            lacking = ", ".join(piece.name for piece in pieces if not piece.found)
            yield f"engine {name}: not ready, without {lacking}"
    if not install:
        yield "foveate info, without a bundle, says how to install what is missing"


def _gpus() -> tuple[list[GpuFacts], str]:
    try:
        return gpus(), ""
    except NoGpu as error:
        return [], str(error)


def _engine(facts: EngineFacts) -> dict[str, Any]:
    return {"ready": facts.ready, "pieces": [asdict(piece) for piece in facts.pieces]}


def _lines(piece: Piece) -> Iterator[str]:
    if piece.found:
        yield f"  {piece.name}: {piece.found}"
        return
    reason = f" ({piece.reason})" if piece.reason else ""
    only = f", only for {piece.purpose}" if piece.purpose else ""
    yield f"  missing: {piece.name}{reason}{only}"
    yield f"      {piece.install}"
