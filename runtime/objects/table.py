"""Write the objects of one image as CSV."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Pixels
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.measures import PixelUm, measure

_WHOLE, _REAL = "%d", "%.8g"
COLUMNS = {
    "object": _WHOLE, "area_px": _WHOLE, "equivalent_diameter_px": _REAL,
    "centroid_x": _REAL, "centroid_y": _REAL,
    "box_left": _WHOLE, "box_top": _WHOLE, "box_right": _WHOLE, "box_bottom": _WHOLE,
    "perimeter_px": _REAL, "feret_max_px": _REAL, "orientation_rad": _REAL,
    "eccentricity": _REAL, "solidity": _REAL,
    "grey_mean": _REAL, "grey_min": _WHOLE, "grey_max": _WHOLE, "probability_mean": _REAL,
    "touches_border": _WHOLE,
    "area_um2": _REAL, "equivalent_diameter_um": _REAL, "centroid_x_um": _REAL,
    "centroid_y_um": _REAL, "perimeter_um": _REAL, "feret_max_um": _REAL,
}  # fmt: skip
"""The columns after the class, and how their numbers are written."""
HEADER = ",".join(("class", *COLUMNS)) + "\n"
_ROWS = 4096
"""Rows that are made at a time."""


def csv_field(text: str) -> str:
    """Return a text as a field of a CSV file."""
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def encode_table(
    objects: Objects,
    image: Pixels,
    names: Sequence[str],
    foreground: npt.NDArray[np.uint8] | None = None,
    pixel_um: PixelUm | None = None,
) -> bytes:
    """Return the CSV of the objects in one image: ``HEADER`` and a row for each.

    ``names`` are those of the classes, background first; the others as for ``measure``. Cells
    of what was not measured are empty.
    """
    measures = measure(objects, image, foreground, pixel_um)
    formats = (form if name in measures else "" for name, form in COLUMNS.items())
    row = ",".join(("%s", *formats)) + "\n"
    columns = [measures[name] for name in COLUMNS if name in measures]
    fields = np.array([csv_field(name) for name in names], object)[objects.classes]
    buffer = io.StringIO()
    buffer.write(HEADER)
    for start in range(0, len(fields), _ROWS):
        part = slice(start, start + _ROWS)
        cells = zip(fields[part], *(column[part].tolist() for column in columns), strict=True)
        buffer.write(row * len(fields[part]) % tuple(chain.from_iterable(cells)))
    return buffer.getvalue().encode("utf-8")
