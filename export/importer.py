"""Make a bundle of trained networks of other makers: what is found, chosen, compared, written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foveate.export.bundle import ExportJob, check_out, export
from foveate.export.image_sets import ImageSets, image_sets
from foveate.export.importing.description import (
    ImportSettings,
    imported_spec,
    normalisation_of,
)
from foveate.export.importing.glue import Dice, choose_on, labelled, measure_dice
from foveate.export.importing.interface import find_interface
from foveate.export.importing.network_file import NetworkFile, read_network
from foveate.export.importing.pytorch import input_shape, network_of_module, read_program
from foveate.export.importing.stage import (
    ImportedNetwork,
    StagePlan,
    onnx_run,
    stage_network,
    widest,
)
from foveate.export.source import Source
from foveate.runtime.bundle.bundle import file_sha256
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.spec import (
    MAX_CHANNELS,
    RGB,
    Size,
    channel_count,
)
from foveate.train.calibration.choosing import Choosing
from foveate.train.reference.cascade import TorchCascade

MOST_DIFFERENCE = 1e-3
"""Largest difference of a probability from the original network's."""
COMPARED = 8
"""Images on which each network is compared."""


def _log(text: str) -> None:
    pass


def _progress(label: str, done: int, total: int) -> None:
    pass


def import_network(
    net: Path | nn.Module,
    stage2: Path | nn.Module | None = None,
    *,
    out: Path,
    settings: ImportSettings,
    precisions: Sequence[str] = ("fp32", "fp16"),
    data: Path | None = None,
    log: Callable[[str], None] = _log,
    progress: Callable[[str, int, int], None] = _progress,
) -> dict[str, Any]:
    """Write the bundle of one network, or of two, and return its parity record.

    A network is the path of an ONNX or .pt2 file, or an nn.Module, taken as in evaluation mode and
    left as it is. Options that messages name are fields of ``settings``. Thresholds
    and box are chosen on ``data``, its val.txt or else its train.txt; without it they are the
    defaults. SettingsError for what has to be said of a network and was not, BundleError for a
    network that cannot be imported, or whose graph gives other values.
    """
    check_out(out)
    normalisation_of(settings)
    if not channel_count(settings.channels):
        raise SettingsError(
            f'--channels "{settings.channels}": expected grey, rgb, or 2 to {MAX_CHANNELS}'
        )
    nets = [net] if stage2 is None else [net, stage2]
    if settings.pad_multiple and stage2 is not None:
        raise SettingsError("--pad-multiple goes with one network, without --stage2")
    if settings.hint and stage2 is None:
        raise SettingsError("--hint goes with --stage2: it is stage 1's probability")
    found = [_stage(item, number, settings, log) for number, item in enumerate(nets)]
    spec = imported_spec(
        [network for network, _, _ in found], [size for _, _, size in found], settings
    )
    networks = [network for network, _, _ in found]
    cascade = TorchCascade(spec, networks[0], networks[1] if stage2 is not None else None).eval()
    dice: Dice | None = None
    if data is None:
        log("Without --data box and mask threshold are the defaults, and Dice is not measured.")
    else:
        full, words = labelled(data, spec)
        spec = replace(spec, input_type=full.dataset.input_type)
        cascade = TorchCascade(spec, cascade.stage1, cascade.stage2).eval()
        spec = choose_on(cascade, full, Choosing(log, progress))
        cascade = TorchCascade(spec, cascade.stage1, cascade.stage2).eval()
        dice = measure_dice(cascade, full, words)
        log(
            f"Dice on {words}: the network(s) by hand with OpenCV {dice.by_hand:.4f}, the bundle "
            f"{dice.cascade:.4f}. If the network was trained on these images, both are too high."
        )
    source = Source(cascade, _facts(found, settings, dice), {})
    images = image_sets(source, data, "int8" in precisions, partial(progress, "reading the images"))
    source = replace(source, networks=_compare(cascade, images, log))
    names = tuple(dict.fromkeys(("fp32", *precisions)))
    return export(ExportJob(source, out, names, images, False, progress))


def _stage(
    net: Path | nn.Module, number: int, settings: ImportSettings, log: Callable[[str], None]
) -> tuple[ImportedNetwork, NetworkFile, Size | None]:
    """Return a network in its stage, its file, and the size of the stage."""
    size, hint = settings.size(number), settings.hint and number == 1
    multiple = settings.pad_multiple
    imagenet, image = settings.normalise == "imagenet", channel_count(settings.channels)
    run = None
    if isinstance(net, nn.Module):
        colours = 3 if imagenet else _first_channels(net) - hint
        file, run = network_of_module(
            deepcopy(net).eval(), type(net).__name__, input_shape(colours + hint, size)
        )
    elif net.suffix == ".pt2":
        module, shape = read_program(net)
        file, run = network_of_module(module, net.name, (1, *shape[1:]), file_sha256(net))
    else:
        file = read_network(net)
    side = multiple * (256 // multiple | 1) if multiple else 256  # that no larger power divides
    tried = size or Size(side, side)
    face = find_interface(file, tried, image, hint, settings.output(number), settings.activation)
    log(f"{file.name}: {face.words()}.")
    if image == 1 and face.channels - hint == 3:
        log(
            "Note: every image is read as grey, which is repeated in the three channels. If the "
            "network was trained on colour images, import it with --channels rgb."
        )
    if imagenet and face.channels - hint != 3:
        raise SettingsError(
            f"--normalise imagenet: {file.name} takes {face.channels} channel(s); expected 3"
        )
    size = _stage_size(file, face.size, size, multiple)
    plan = StagePlan(face, imagenet and settings.channels != RGB, hint, number == 1)
    stage_size = None if multiple else size
    if run is None:
        original = onnx_run(file.model, face)
        return stage_network(file, plan, original, "ONNX Runtime", stage_size), file, size
    by_name = run
    return (
        stage_network(file, plan, lambda x: by_name(x)[face.output], "PyTorch", stage_size),
        file,
        size,
    )


def _stage_size(file: NetworkFile, own: Size | None, given: Size | None, multiple: int) -> Size:
    if multiple and own is not None:
        raise SettingsError(
            f"--pad-multiple: {file.name} takes {own.height}x{own.width} alone; export it with "
            "dynamic height and width, or leave the option out"
        )
    if own is None and given is None and not multiple:
        raise SettingsError(
            f"{file.name}: takes any size; say which one with --size HxW, or --pad-multiple N for "
            "the image's own"
        )
    if own is not None and given not in (None, own):
        raise SettingsError(
            f"--size: {file.name} takes {own.height}x{own.width} alone; leave the option out"
        )
    return own or given or Size(256, 256)


def _first_channels(module: nn.Module) -> int:
    """Return the channels that the first convolution of a module takes."""
    first = next((item for item in module.modules() if isinstance(item, nn.Conv2d)), None)
    if first is None:
        raise BundleError(f"{type(module).__name__}: has no Conv2d; import it as an ONNX file")
    return first.in_channels


def _facts(
    found: Sequence[tuple[ImportedNetwork, NetworkFile, Size | None]],
    settings: ImportSettings,
    dice: Dice | None,
) -> dict[str, Any]:
    """Return what the manifest says of the networks and of Dice."""
    stages = [
        {
            "name": "imported",
            "width": widest(network.model, size or Size(256, 256)),
            "depth": 0,
            "imported": {
                **file.record,
                "licence": settings.licence,
                "normalise": settings.normalise,
                "interface": network.plan.interface.words(),
            },
        }
        for network, file, size in found
    ]
    network: dict[str, Any] = stages[0]
    if len(stages) > 1:
        network["stage2"] = stages[1]
    return {
        "kind": "cascade" if len(stages) > 1 else "single",
        "network": network,
        "data": {"name": "not stated", "licence": "", "fingerprint": ""},
        "training": {} if dice is None else {"chosen_on": dice.record()},
    }


def _compare(
    cascade: TorchCascade, images: ImageSets, log: Callable[[str], None]
) -> dict[str, Any]:
    """Return the difference of each network's probabilities from the original's.

    BundleError where it is too large. Both are run on what the stages see of the images.
    """
    rows: dict[str, Any] = {}
    outputs = [cascade.run(case.image) for case in images.parity.cases[:COMPARED]]
    for stage in ("stage1", "stage2"):
        network = getattr(cascade, stage)
        if network is None:
            continue
        graph, apart = network.folded(), []
        for output in outputs:
            seen = getattr(output, f"{stage}_input")
            two = torch.cat([seen, seen.flip(3)])
            with torch.inference_mode():
                pair = [cascade.probabilities(one(two)) for one in (graph, network)]
            apart.append((pair[0] - pair[1]).abs().numpy())
        largest = float(max(part.max() for part in apart))
        rows[stage] = {
            "original": network.runtime,
            "images": len(outputs),
            "largest_difference": largest,
            "mean_difference": float(np.mean([part.mean() for part in apart])),
        }
        if not largest <= MOST_DIFFERENCE:
            raise BundleError(
                f"{stage}: the graph made of the network gives other probabilities than the "
                f"original, by up to {largest:.5f}, expected at most {MOST_DIFFERENCE}: it may "
                "hold for a batch of one alone; export it with a dynamic batch axis"
            )
        log(
            f"{stage}: probabilities differ from the original's by at most {largest:.2g} on "
            f"{len(outputs)} images."
        )
    return rows
