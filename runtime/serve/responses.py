"""The responses to an image: the mask, the overlay, the figures, or all of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from foveate.runtime.arrays import Pixels
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.outputs import encode_overlay
from foveate.runtime.io.png import encode_mask
from foveate.runtime.io.probability import probability_picture
from foveate.runtime.io.result_line import result_line
from foveate.runtime.objects.labels import label_objects
from foveate.runtime.objects.measures import measure
from foveate.runtime.result import Result

BOX, MEAN = ("box_left", "box_top", "box_right", "box_bottom"), "probability_mean"
Make = Callable[[Pixels, Result, Bundle], bytes]


@dataclass(frozen=True)
class ResponseKind:
    """A media type and the function that makes the body; ``with_objects`` for ``?objects=1``."""

    media_type: str
    make: Make
    with_objects: Make | None = None


def mask_png(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the mask, byte for byte as ``foveate segment`` writes it."""
    return encode_mask(result.mask, len(bundle.spec.classes))


def overlay_jpeg(image: Pixels, result: Result, bundle: Bundle) -> bytes:
    """Return the image with mask and box, byte for byte as ``foveate segment`` writes it."""
    return encode_overlay(image, result, bundle.spec)


def result_json(image: Pixels, result: Result, bundle: Bundle, objects: bool = False) -> bytes:
    """Return the figures of a line of ``results.jsonl``, and the objects if asked for."""
    figures = _figures(image, result, bundle, mask_png(image, result, bundle))
    return _as_json(figures | (_objects(image, result, bundle) if objects else {}))


def everything_json(image: Pixels, result: Result, bundle: Bundle, objects: bool = False) -> bytes:
    """Return what ``result_json`` does, with mask and overlay in base64."""
    mask = mask_png(image, result, bundle)
    pictures = {"mask_png": mask, "overlay_jpeg": overlay_jpeg(image, result, bundle)}
    coded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    figures = _figures(image, result, bundle, mask) | coded
    return _as_json(figures | (_objects(image, result, bundle) if objects else {}))


RESPONSES = {
    "/mask": ResponseKind("image/png", mask_png),
    "/overlay": ResponseKind("image/jpeg", overlay_jpeg),
    "/result": ResponseKind("application/json", result_json, partial(result_json, objects=True)),
    "/all": ResponseKind(
        "application/json", everything_json, partial(everything_json, objects=True)
    ),
}


def _figures(image: Pixels, result: Result, bundle: Bundle, mask: bytes) -> dict[str, Any]:
    written = {"": hashlib.sha256(mask).hexdigest()}
    line = result_line("", 0, written, image, result, bundle.spec) | {"bundle": bundle.label}
    return {name: line[name] for name in line.keys() - {"input", "page", "mask"}}


def _objects(image: Pixels, result: Result, bundle: Bundle) -> dict[str, Any]:
    """Return ``object_table``: some columns of ``objects.csv``, a row for every object."""
    spec, objects = bundle.spec, label_objects(result.mask)
    grey = grey_of(image, spec.channels)
    measures = measure(objects, grey, probability_picture(result, spec))
    columns = (
        objects.classes.tolist(),
        *(
            measures[name].tolist()
            for name in ("object", "area_px", *BOX, MEAN)
            if name in measures
        ),
    )
    return {
        "object_table": [
            {
                "object": number,
                "class": spec.classes[label],
                "area_px": area,
                "box_xyxy": box,
                MEAN: round(mean, 6),
            }
            for label, number, area, *box, mean in zip(*columns, strict=True)
        ]
    }


def _as_json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, sort_keys=True) + "\n").encode()
