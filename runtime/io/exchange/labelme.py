"""Write JSON as labelme reads it: a polygon per object."""

from __future__ import annotations

import json

from foveate.runtime.io.exchange.source import ImageSource
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.outlines import joined, outlines
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

INSET = 0.1
"""Of edges, in pixels: labelme fills all pixels that a line touches, those on its right too."""


def encode_labelme(
    objects: Objects, result: Result, spec: CascadeSpec, source: ImageSource
) -> bytes:
    """Return the labelme file of an image, which it refers to and does not contain."""
    height, width = result.mask.shape
    shapes = [
        {
            "label": spec.classes[label],
            "points": joined(rings, INSET).round(1).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for rings, label in zip(outlines(objects.numbers), objects.classes.tolist(), strict=True)
    ]
    values = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": source.from_output,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(values).encode()
