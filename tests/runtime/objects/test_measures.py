"""Measures of objects: against their definitions in scikit-image, computed one object at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from foveate.runtime.arrays import Pixels
from foveate.runtime.objects.labels import Objects, label_objects
from foveate.runtime.objects.measures import PixelUm, measure

SIDES = np.array([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]])
"""From a pixel's middle to those of its sides."""


def expected(
    objects: Objects, number: int, image: Pixels, foreground: Pixels, pixel_um: PixelUm | None
) -> dict[str, Any]:
    """Return the measures of one object as regionprops defines them."""
    inside = objects.numbers == number
    points = np.argwhere(inside)
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0) + 1
    hull = hull_pixels(points)
    area, (y, x) = len(points), points.mean(axis=0)
    across, down = pixel_um or (1.0, 1.0)
    values = {
        "object": number,
        "area_px": area,
        "equivalent_diameter_px": np.sqrt(4 * area / np.pi),
        "centroid_x": x,
        "centroid_y": y,
        "box_left": left,
        "box_top": top,
        "box_right": right,
        "box_bottom": bottom,
        "perimeter_px": perimeter(inside),
        "feret_max_px": pdist(outline(hull)).max(),
        "solidity": area / len(hull),
        "grey_mean": image[inside].mean(),
        "grey_min": image[inside].min(),
        "grey_max": image[inside].max(),
        "probability_mean": foreground[inside].mean() / 255,
        "touches_border": int(inside[1:-1, 1:-1].sum() < area),
    }
    inertia = np.cov((points * (down, across)).T, bias=True) if area > 1 else np.zeros((2, 2))
    small, large = np.linalg.eigvalsh(inertia)
    values["eccentricity"] = np.sqrt(1 - max(small, 0) / large) if large else 0.0
    if values["eccentricity"] > 1e-3:  # a round object has no orientation
        values["orientation_rad"] = 0.5 * np.arctan2(
            2 * inertia[0, 1], inertia[0, 0] - inertia[1, 1]
        )
    if pixel_um:
        values["area_um2"] = area * across * down
        values["equivalent_diameter_um"] = np.sqrt(4 * area * across * down / np.pi)
        values["centroid_x_um"], values["centroid_y_um"] = x * across, y * down
        values["feret_max_um"] = pdist(outline(hull) * (down, across)).max()
    if pixel_um and across == down:
        values["perimeter_um"] = values["perimeter_px"] * across
    return values


def outline(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.unique((points[:, None] + SIDES).reshape(-1, 2), axis=0)


def hull_pixels(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the pixels whose middles are in the convex hull of an object's sides, or on it."""
    hull = ConvexHull(outline(points)).equations
    grid = np.argwhere(np.ones(np.ptp(points, axis=0) + 1)) + points.min(axis=0)
    return grid[(grid @ hull[:, :2].T + hull[:, 2] < 1e-9).all(axis=1)]


def perimeter(inside: npt.NDArray[np.bool_]) -> float:
    """Return the sum over the border's pixels, each by how it goes on."""
    padded = np.pad(inside, 1)
    border = padded & ~ndimage.binary_erosion(padded)
    code = ndimage.convolve(border.astype(int), [[10, 2, 10], [2, 1, 2], [10, 2, 10]])
    length = {code: 1.0 for code in (5, 7, 15, 17, 25, 27)} | dict.fromkeys((21, 33), np.sqrt(2))
    length |= dict.fromkeys((13, 23), (1 + np.sqrt(2)) / 2)
    return sum(length.get(value, 0.0) for value in code[border].tolist())


def random_mask(generator: np.random.Generator, classes: int) -> npt.NDArray[np.uint8]:
    """Return a mask of dots, blobs or patches of any size."""
    noise = generator.standard_normal(generator.integers(1, 70, 2))
    noise = cv2.GaussianBlur(noise, (0, 0), float(generator.choice([0.3, 1, 2, 4])))
    cuts = np.quantile(noise, np.linspace(generator.uniform(0.3, 0.95), 0.97, classes))
    return np.digitize(noise, cuts).astype(np.uint8)


@pytest.mark.parametrize("seed", range(50))
def test_measures_are_those_of_regionprops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = random_mask(generator, classes=1 + seed % 3)
    deep = seed % 2
    image = generator.integers(0, 1 << (16 if deep else 8), mask.shape)
    image = image.astype(np.uint16 if deep else np.uint8)
    foreground = generator.integers(0, 256, mask.shape).astype(np.uint8)
    pixel_um = [None, (0.5, 0.5), (0.25, 0.6)][seed % 3]
    objects = label_objects(mask, split=seed % 5 == 0)
    found = measure(objects, image, foreground, pixel_um)
    for number in range(1, len(objects.classes) + 1):
        for name, value in expected(objects, number, image, foreground, pixel_um).items():
            given = found[name][number - 1]
            if name == "orientation_rad":  # -pi/2 and pi/2 are one
                given = value + (given - value + np.pi / 2) % np.pi - np.pi / 2
            assert given == pytest.approx(value, rel=1e-6, abs=1e-6), (name, number)


def test_what_cannot_be_measured_is_left_out() -> None:
    objects, image = label_objects(np.ones((3, 4), np.uint8)), np.zeros((3, 4), np.uint8)
    alone = measure(objects, image)
    assert not [name for name in alone if name.endswith(("um", "um2")) or "probability" in name]
    oblong = measure(objects, image, pixel_um=(0.5, 1.0))
    assert "perimeter_um" not in oblong and oblong["area_um2"].tolist() == [6.0]


def test_an_object_of_one_pixel_and_one_that_is_the_image() -> None:
    image = np.full((40, 90), 7, np.uint8)
    whole = measure(label_objects(np.ones((40, 90), np.uint8)), image)
    assert whole["area_px"].tolist() == [3600] and whole["solidity"].tolist() == [1.0]
    assert whole["perimeter_px"].tolist() == [2 * (39 + 89) - 4 + 4 * 1]
    assert whole["touches_border"].tolist() == [1]
    dot = np.zeros((40, 90), np.uint8)
    dot[3, 5] = 1
    one = {name: value.tolist() for name, value in measure(label_objects(dot), image).items()}
    assert one["perimeter_px"] == one["eccentricity"] == one["orientation_rad"] == [0.0]
    assert one["feret_max_px"] == one["solidity"] == [1.0] and one["touches_border"] == [0]


def test_100_000_objects() -> None:
    mask = np.zeros((800, 1125), np.uint8)
    mask[::3, ::3] = mask[1::3, ::3] = 1
    objects = label_objects(mask)
    found = measure(objects, mask)
    assert len(objects.classes) == 267 * 375 == 100_125
    assert set(found["area_px"]) == {2} and np.ptp(found["solidity"]) == 0
    assert found["centroid_y"][-1] == 798.5 and found["feret_max_px"][0] == 2.0
