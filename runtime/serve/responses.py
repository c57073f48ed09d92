"""The responses to an image: the mask, the overlay, the figures, or all of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.io.outputs import encode_overlay
from foveate.runtime.io.png import encode_mask
from foveate.runtime.io.result_line import result_line
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

Make = Callable[[Pixels, Result, CascadeSpec], bytes]


@dataclass(frozen=True)
class ResponseKind:
    """A media type and the function that makes the body."""

    media_type: str
    make: Make


def mask_png(image: Pixels, result: Result, spec: CascadeSpec) -> bytes:
    """Return the mask, byte for byte as ``foveate segment`` writes it."""
    return encode_mask(result.mask, len(spec.classes))


def result_json(image: Pixels, result: Result, spec: CascadeSpec) -> bytes:
    """Return the figures of a line of ``results.jsonl``."""
    return _as_json(_figures(image, result, spec, mask_png(image, result, spec)))


def everything_json(image: Pixels, result: Result, spec: CascadeSpec) -> bytes:
    """Return the figures, with mask and overlay in base64."""
    mask = mask_png(image, result, spec)
    pictures = {"mask_png": mask, "overlay_jpeg": encode_overlay(image, result, spec)}
    coded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    return _as_json({**_figures(image, result, spec, mask), **coded})


RESPONSES = {
    "/mask": ResponseKind("image/png", mask_png),
    "/overlay": ResponseKind("image/jpeg", encode_overlay),
    "/result": ResponseKind("application/json", result_json),
    "/all": ResponseKind("application/json", everything_json),
}


def _figures(image: Pixels, result: Result, spec: CascadeSpec, mask: bytes) -> dict[str, Any]:
    written = {"": hashlib.sha256(mask).hexdigest()}
    line = result_line("", 0, written, image.shape, result, spec)
    return {name: line[name] for name in line.keys() - {"input", "page", "mask"}}


def _as_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, sort_keys=True) + "\n").encode()
