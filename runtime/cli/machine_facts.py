"""What ``foveate info`` says of this machine, as JSON values and as lines for a person."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foveate import __version__
from foveate.runtime.engines.cuda.query import GpuFacts, NoGpu, driver_cuda, gpus
from foveate.runtime.engines.hardware import ROOT, jetson
from foveate.runtime.engines.install_lines import install_lines
from foveate.runtime.engines.installed import EngineFacts, Piece, engine_facts


def machine_facts(root: Path = ROOT, architecture: str = "") -> dict[str, Any]:
    """Return versions, GPUs and engines of this machine; makes no CUDA context.

    ``architecture`` is this machine's unless given; ``root`` is where a Jetson's files are read.
    """
    here = jetson(root, architecture)
    found, reason = _gpus()
    cuda = driver_cuda()
    engines = engine_facts(install_lines(here, cuda), found[0].name if found else "")
    return {
        "foveate": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {architecture or platform.machine()}",
        "jetson": asdict(here) | {"jetpack": here.jetpack, "name": str(here)} if here else None,
        "gpus": [asdict(item) | {"text": str(item)} for item in found],
        "no_gpu": reason,
        "driver_cuda": cuda,
        "engines": {item.name: _engine(item) for item in engines},
    }


def machine_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts as lines; what is missing is followed by the line to type."""
    yield f"foveate {facts['foveate']}, Python {facts['python']}, {facts['machine']}"
    if facts["jetson"]:
        yield facts["jetson"]["name"]
    for item in facts["gpus"]:
        yield f"GPU: {item['text']}"
    if facts["no_gpu"]:
        yield f"no GPU: {facts['no_gpu']}"
    if facts["driver_cuda"]:
        yield f"NVIDIA driver: runs CUDA {facts['driver_cuda']} and older"
    for name, engine in facts["engines"].items():
        yield f"engine {name}: {'ready' if engine['ready'] else 'not ready'}"
        for piece in engine["pieces"]:
            yield from _lines(Piece(**piece))


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
