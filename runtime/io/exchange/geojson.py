"""Write GeoJSON as QuPath reads it: an annotation per object, in pixels from the top left."""

from __future__ import annotations

import json

import cv2
import numpy as np

from foveate.runtime.io.exchange.source import ImageSource
from foveate.runtime.io.png import class_colour
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.outlines import Ring, outlines
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec


def encode_geojson(
    objects: Objects, result: Result, spec: CascadeSpec, source: ImageSource
) -> bytes:
    """Return the FeatureCollection of an image; it names no image, so ``source`` is not used."""
    features = [
        {
            "type": "Feature",
            "geometry": _geometry(rings),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": spec.classes[label], "color": class_colour(label)},
            },
        }
        for rings, label in zip(outlines(objects.numbers), objects.classes.tolist(), strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _geometry(rings: list[Ring]) -> dict[str, object]:
    polygons = [[[*ring, ring[0]] for ring in rings] for rings in _polygons(rings)]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _polygons(rings: list[Ring]) -> list[list[Ring]]:
    """Return polygons, each an outer ring and its holes; no ring touches itself."""
    simple = [part for ring in rings for part in _split(ring)]
    areas = [_area(ring) for ring in simple]
    order = sorted(range(len(simple)), key=areas.__getitem__)
    found = [[simple[index]] for index in order if areas[index] > 0]
    for index in order:
        if areas[index] < 0:
            x, y = min(simple[index], key=lambda point: (point[1], point[0]))
            above = (x + 0.5, y - 0.5)  # a pixel of the object, next to the hole
            around = (polygon for polygon in found if _inside(polygon[0], above))
            (found[0] if len(found) == 1 else next(around)).append(simple[index])
    return found


def _split(ring: Ring) -> list[Ring]:
    """Return a ring that touches itself as rings that do not."""
    parts: list[Ring] = []
    path: Ring = []
    places: dict[tuple[int, int], int] = {}
    for point in ring:
        if point in places:
            parts.append(path[places[point] :])
            del path[places[point] :]
            for left in parts[-1]:
                del places[left]
        places[point] = len(path)
        path.append(point)
    return [*parts, path]


def _area(ring: Ring) -> int:
    """Return twice the area, negative for the ring of a hole."""
    x, y = np.array(ring, np.int64).T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _inside(ring: Ring, point: tuple[float, float]) -> bool:
    return cv2.pointPolygonTest(np.array(ring, np.float32), point, False) > 0
