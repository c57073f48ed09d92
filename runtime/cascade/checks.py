"""Is the graph the one its manifest describes? Names and types at load, values at every run.

A bundle whose hashes were rewritten can hold any graph. What it returns is believed only after
these checks; they cost microseconds per run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from foveate.runtime.arrays import Array
from foveate.runtime.engines.base import Engine, TensorSpec
from foveate.runtime.errors import BundleError
from foveate.runtime.spec import CascadeSpec


def check_signature(engine: Engine, spec: CascadeSpec, source: Path) -> None:
    """Raise BundleError unless the graph takes and returns what the description implies."""
    wide = (2,) if spec.input_type == "uint16" else ()
    image = _any("image", "uint8", 3, *spec.channel_side, *wide)
    _check_tensors(source, "input", engine.inputs, (image,))
    channels = spec.output_channels
    outputs = (
        _any("mask", "uint8", 3),
        TensorSpec("box", "float32", (None, None, 4)),
        _any("score", "float32", 1),
        TensorSpec("coarse", "float32", (None, channels, None, None)),
        TensorSpec("refined", "float32", (None, channels, None, None)),
    )
    _check_tensors(source, "output", engine.outputs, outputs)


def _any(name: str, dtype: str, sides: int, *more: int) -> TensorSpec:
    return TensorSpec(name, dtype, (None,) * sides + more)


def _check_tensors(
    source: Path, kind: str, found: tuple[TensorSpec, ...], expected: tuple[TensorSpec, ...]
) -> None:
    names = [item.name for item in found]
    if sorted(names) != sorted(item.name for item in expected):
        raise BundleError(
            f"{source}: its {kind}s are {', '.join(names)[:200]}; "
            f"expected {', '.join(item.name for item in expected)}"
        )
    by_name = {item.name: item for item in found}
    for item in expected:
        if not _fits(by_name[item.name], item):
            raise BundleError(
                f'{source}: its {kind} "{item.name}" is {_words(by_name[item.name])}; '
                f"the manifest expects {_words(item)}"
            )


def _fits(found: TensorSpec, expected: TensorSpec) -> bool:
    if found.dtype != expected.dtype or len(found.shape) != len(expected.shape):
        return False
    pairs = zip(found.shape, expected.shape, strict=True)
    return all(a is None or b is None or a == b for a, b in pairs)


def _words(item: TensorSpec) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in item.shape)
    return f"{item.dtype} [{sides}]"


def check_values(
    found: Mapping[str, Array], shape: tuple[int, int, int], spec: CascadeSpec, source: Path
) -> None:
    """Raise BundleError unless outputs for (N, H, W) pixels can be masks, boxes and scores."""
    count, height, width = shape
    box, score, mask = found["box"], found["score"], found.get("mask")
    problems = []
    if mask is None:
        pass  # it stayed on the GPU
    elif mask.shape != shape or mask.dtype != np.uint8:
        problems.append(f"a mask of {mask.shape} {mask.dtype}, expected {shape} uint8")
    elif int(mask.max()) >= len(spec.classes):
        problems.append(f"class {int(mask.max())}, expected at most {len(spec.classes) - 1}")
    if score.shape != (count,) or not np.all((score >= 0) & (score <= 1.001)):
        problems.append(f"the score {score.ravel()[:1]}, expected 0 to 1")
    if box.ndim != 3 or box.shape[0] != count or box.shape[2] != 4 or box.shape[1] == 0:
        problems.append(f"boxes of {box.shape}, expected ({count}, regions, 4)")
    else:
        x0, y0, x1, y1 = np.moveaxis(box, 2, 0)
        inside = (x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height) & (x0 < x1) & (y0 < y1)
        if not inside.all():
            problems.append(f"the box {box[0, 0].tolist()} in an image of {width}x{height}")
    for name in ("coarse", "refined"):
        if name in found and not _is_probability(found[name], spec, count):
            problems.append(f"{name} without probabilities, {found[name].shape}")
    if problems:
        raise BundleError(
            f"{source}: gives {'; '.join(problems)}. Its weights or its geometry are damaged"
        )


def _is_probability(values: Array, spec: CascadeSpec, count: int) -> bool:
    if values.ndim != 4 or values.shape[1] != spec.output_channels or len(values) % count:
        return False
    return 0 not in values.shape and bool(np.all((values >= 0) & (values <= 1.001)))
