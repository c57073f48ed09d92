"""Write tasks of Label Studio with a prediction each: a polygon per object."""

from __future__ import annotations

import json
from urllib.parse import quote

from foveate.runtime.io.exchange.source import ImageSource
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.outlines import joined, outlines
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

LOCAL_FILE = "/data/local-files/?d="
"""Where Label Studio serves files of this machine."""


def encode_label_studio(
    objects: Objects, result: Result, spec: CascadeSpec, source: ImageSource
) -> bytes:
    """Return a list of one task; points are in percent of width and height."""
    height, width = result.mask.shape
    regions = [
        {
            "id": str(number),
            "type": "polygonlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "points": (100 * joined(rings) / (width, height)).tolist(),
                "closed": True,
                "polygonlabels": [spec.classes[label]],
            },
        }
        for number, (rings, label) in enumerate(
            zip(outlines(objects.numbers), objects.classes.tolist(), strict=True), 1
        )
    ]
    prediction = {"model_version": "foveate", "score": round(result.score, 6), "result": regions}
    image = LOCAL_FILE + quote(source.from_parent)
    return json.dumps([{"data": {"image": image}, "predictions": [prediction]}]).encode()
