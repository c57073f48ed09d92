"""The responses to an image: the mask, the overlay, the figures, or all of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.io.outputs import encode_overlay
from foveate.runtime.io.png import encode_mask
from foveate.runtime.io.result_line import result_line
from foveate.runtime.result import Result

Make = Callable[[Pixels, Result, Bundle], bytes]


@dataclass(frozen=True)
class ResponseKind:
    """A media type and the function that makes the body."""

    media_type: str
    make: Make


def mask_png(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the mask, byte for byte as ``foveate segment`` writes it."""
    return encode_mask(result.mask, len(bundle.spec.classes))


def overlay_jpeg(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the image with mask and box, byte for byte as ``foveate segment`` writes it."""
    return encode_overlay(image, result, bundle.spec)


def result_json(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the figures of a line of ``results.jsonl``."""
    return _as_json(_figures(image, result, bundle, mask_png(image, result, bundle)))


def everything_json(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the figures, with mask and overlay in base64."""
    mask = mask_png(image, result, bundle)
    pictures = {"mask_png": mask, "overlay_jpeg": overlay_jpeg(image, result, bundle)}
    coded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    return _as_json({**_figures(image, result, bundle, mask), **coded})


RESPONSES = {
    "/mask": ResponseKind("image/png", mask_png),
    "/overlay": ResponseKind("image/jpeg", overlay_jpeg),
    "/result": ResponseKind("application/json", result_json),
    "/all": ResponseKind("application/json", everything_json),
}


def _figures(image: Pixels, result: Result, bundle: Bundle, mask: bytes) -> dict[str, Any]:
    written = {"": hashlib.sha256(mask).hexdigest()}
    line = result_line("", 0, written, image, result, bundle.spec) | {"bundle": bundle.label}
    return {name: line[name] for name in line.keys() - {"input", "page", "mask"}}


def _as_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, sort_keys=True) + "\n").encode()
