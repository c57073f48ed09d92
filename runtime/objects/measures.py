"""Measure all objects of an image at once, with the definitions of scikit-image's regionprops."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.objects.hull import Lines, feret_diameters
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.perimeter import perimeters
from foveate.runtime.objects.runs import Floats, Ints, Runs

PixelUm = tuple[float, float]
"""Width and height of a pixel in micrometres."""
SQUARE = 1e-6
"""Pixels whose sides differ by no more, relatively, are square."""


def measure(
    objects: Objects,
    image: Pixels,
    foreground: npt.NDArray[np.uint8] | None = None,
    pixel_um: PixelUm | None = None,
) -> dict[str, Array]:
    """Return an (N,) array of each measure, by its column in the table; docs/outputs.md says what.

    ``image`` is (H, W) uint8 or uint16, ``foreground`` (H, W) is 255 times the probability. What
    cannot be measured is left out: ``probability_mean`` without ``foreground``, micrometres without
    ``pixel_um``, and ``perimeter_um`` if pixels are not square.
    """
    count = len(objects.classes)
    found: dict[str, Array] = {"object": np.arange(1, count + 1)}
    if not count:
        return found
    runs = Runs.of(objects.numbers)
    left, right = runs.least(runs.left), runs.greatest(runs.right) + 1
    top, bottom = runs.least(runs.y), runs.greatest(runs.y) + 1
    height, width = objects.numbers.shape
    area, x, y, moments = _moments(runs, left, top)
    sides = pixel_um or (1.0, 1.0)
    orientation, eccentricity = _ellipses(*moments, *sides)
    lines = Lines.of(runs)
    hulls = lines.filled()
    least, greatest = runs.extremes(image)
    found |= {
        "area_px": area,
        "equivalent_diameter_px": np.sqrt(4 / math.pi * area),
        "centroid_x": x,
        "centroid_y": y,
        "box_left": left,
        "box_top": top,
        "box_right": right,
        "box_bottom": bottom,
        "perimeter_px": perimeters(objects.numbers, runs),
        "feret_max_px": feret_diameters(hulls),
        "orientation_rad": orientation,
        "eccentricity": eccentricity,
        "solidity": area / hulls.areas(),
        "grey_mean": runs.sums(image) / area,
        "grey_min": least,
        "grey_max": greatest,
        "touches_border": ((left == 0) | (top == 0) | (right == width) | (bottom == height)) * 1,
    }
    if foreground is not None:
        found["probability_mean"] = runs.sums(foreground) / (255 * area)
    if pixel_um:
        across, down = pixel_um
        found |= {
            "area_um2": area * (across * down),
            "equivalent_diameter_um": np.sqrt(4 / math.pi * across * down * area),
            "centroid_x_um": x * across,
            "centroid_y_um": y * down,
        }
        if math.isclose(across, down, rel_tol=SQUARE):
            found["perimeter_um"] = found["perimeter_px"] * across
            found["feret_max_um"] = found["feret_max_px"] * across
        else:
            found["feret_max_um"] = feret_diameters(hulls, across, down)
    return found


def _moments(
    runs: Runs, left: Ints, top: Ints
) -> tuple[Ints, Floats, Floats, tuple[Floats, Floats, Floats]]:
    """Return areas, centroids (x, y), and the variances xx and yy and covariance xy of pixels."""
    begin, y = runs.left - left[runs.owner], runs.y - top[runs.owner]
    length = runs.right - runs.left + 1
    end = begin + length - 1
    columns = (begin + end) * length // 2
    area = runs.total(length)
    x_mean, y_mean = runs.total(columns) / area, runs.total(y * length) / area
    squares = (end * (end + 1) * (2 * end + 1) - (begin - 1) * begin * (2 * begin - 1)) // 6
    xx = runs.total(squares) / area - x_mean * x_mean
    yy = runs.total(y * y * length) / area - y_mean * y_mean
    xy = runs.total(y * columns) / area - x_mean * y_mean
    return area, x_mean + left, y_mean + top, (xx, yy, xy)


def _ellipses(
    xx: Floats, yy: Floats, xy: Floats, width: float, height: float
) -> tuple[Floats, Floats]:
    """Return orientation and eccentricity of the ellipses with these moments in pixels."""
    xx, yy, xy = xx * width * width, yy * height * height, xy * width * height
    half = np.hypot((xx - yy) / 2, xy)
    longest = (xx + yy) / 2 + half
    share = np.divide(2 * half, longest, out=np.zeros_like(longest), where=longest > 0)
    return 0.5 * np.arctan2(2 * xy, yy - xx), np.sqrt(np.minimum(share, 1.0))
