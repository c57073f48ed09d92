"""Write GeoJSON as QuPath reads it: an annotation per object, in pixels from the top left."""

from __future__ import annotations

import json

import cv2
import numpy as np
import numpy.typing as npt

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
            "geometry": _geometry(_polygons(rings, number, objects.numbers)),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": spec.classes[label], "color": class_colour(label)},
            },
        }
        for number, (rings, label) in enumerate(
            zip(outlines(objects.numbers), objects.classes.tolist(), strict=True), 1
        )
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _geometry(polygons: list[list[Ring]]) -> dict[str, object]:
    closed = [[[*ring, ring[0]] for ring in rings] for rings in polygons]
    if len(closed) == 1:
        return {"type": "Polygon", "coordinates": closed[0]}
    return {"type": "MultiPolygon", "coordinates": closed}


def _polygons(rings: list[Ring], number: int, numbers: npt.NDArray[np.int32]) -> list[list[Ring]]:
    """Return polygons, each an outer ring and its holes; no ring touches itself.

    Pixels that are neighbours by their corners alone are in several polygons.
    """
    simple = [part for ring in rings for part in _split(ring)]
    outer = [ring for ring in simple if ring[1][1] == ring[0][1]]  # clockwise from the top left
    holes = [ring for ring in simple if ring[1][1] != ring[0][1]]
    if len(outer) == 1:
        return [[*outer, *holes]]
    corners = np.array([corner for ring in outer for corner in ring])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    inside = (numbers[top:bottom, left:right] == number).view(np.uint8)
    _, part = cv2.connectedComponents(inside, connectivity=4, ltype=cv2.CV_32S)
    found = {int(part[ring[0][1] - top, ring[0][0] - left]): [ring] for ring in outer}
    for ring in holes:
        above = part[ring[0][1] - top - 1, ring[0][0] - left]
        found[int(above)].append(ring)
    return list(found.values())


def _split(ring: Ring) -> list[Ring]:
    """Return a ring that touches itself as rings that do not, from their top left corners."""
    if len(set(ring)) == len(ring):
        return [ring]
    parts: list[Ring] = []
    path: dict[tuple[int, int], None] = {}  # in order, and quick to look up
    for point in ring:
        if point in path:
            part = [path.popitem()[0]]
            while part[-1] != point:
                part.append(path.popitem()[0])
            parts.append(part[::-1])
        path[point] = None
    parts.append(list(path))
    first = [part.index(min(part, key=lambda point: point[::-1])) for part in parts]
    return [part[at:] + part[:at] for part, at in zip(parts, first, strict=True)]
