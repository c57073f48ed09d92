"""Synthetic images with their truth: an organ with irregular lesions, and look-alikes.

Deterministic: image i of a seed is the same on every machine. No threshold finds the
lesion: light is uneven, speckle is multiplicative, look-alikes of the same brightness lie
outside the organ and differ by their smooth rim alone, and vessels of the same brightness cross
it. The lesion's outline is finer than a 256 x 256 view can hold. In colour images lesions differ
from the organ in hue alone: their grey says nothing. numpy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.overlay import write_picture
from foveate.runtime.io.png import write_mask
from foveate.runtime.spec import GREY, RGB

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

SIZES = (512, 768, 1024, 1536, 2048)
"""Sides used when none is asked for."""
CLASS_CONTRAST = (1.0, -1.0, 1.9)
"""Brightness of each class over the organ, in units of the image's own contrast."""
CLASS_HUES, OTHER_HUE = (1.7, 3.3, 4.6), -1.0
"""Hue of each class in colour images, and of blobs outside the organ, in radians from its own."""
CHROMA = 0.09
"""Colours lie so far from grey, as a share of the full scale: none is cut off."""


@dataclass(frozen=True)
class Phantom:
    """An image, (H, W) or (H, W, 3) uint8 or uint16, its class mask (H, W) uint8, and the organ."""

    stem: str
    image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    mask: Mask
    organ: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PhantomSettings:
    """What to draw. ``size`` 0: sides of 512 to 2048; ``bits`` 0: 8 and 16 alternately."""

    count: int
    size: int = 0
    seed: int = 0
    classes: int = 1
    bits: int = 0
    empty_fraction: float = 0.1
    channels: str = GREY

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SettingsError(f"--count is {self.count}; expected 1 or more")
        if self.size and not 128 <= self.size <= 4096:
            raise SettingsError(
                f"--size is {self.size}; expected 128 to 4096, or 0 for 512 to 2048"
            )
        if not 1 <= self.classes <= len(CLASS_CONTRAST):
            raise SettingsError(f"--classes is {self.classes}; expected 1 to {len(CLASS_CONTRAST)}")
        if self.bits not in (0, 8, 16):
            raise SettingsError(f"--bits is {self.bits}; expected 8, 16 or 0 for both")
        if self.channels not in (GREY, RGB):
            raise SettingsError(f"--channels is {self.channels}; expected {GREY} or {RGB}")


def phantoms(settings: PhantomSettings) -> Iterator[Phantom]:
    """Yield ``settings.count`` phantoms, one at a time."""
    for index in range(settings.count):
        yield phantom(settings, index)


def phantom(settings: PhantomSettings, index: int) -> Phantom:
    """Return phantom number ``index`` of a seed; it does not depend on the count."""
    rng = np.random.default_rng([settings.seed, index])
    side = settings.size or int(rng.choice(SIZES))
    height, width = side, side if settings.size else int(side * rng.uniform(0.8, 1.2))
    bits = settings.bits or (8, 16)[index % 2]
    organ, depth = _organ(rng, height, width)
    empty = rng.random() < settings.empty_fraction
    mask = np.zeros((height, width), np.uint8)
    if not empty:
        _draw_lesions(rng, mask, depth, settings.classes)
    grey = settings.channels == GREY
    image = _paint(rng, mask if grey else np.zeros_like(mask), organ)
    image = image if grey else _coloured(rng, image, mask, organ)
    full = 255 if bits == 8 else 65535
    rounded = np.clip(np.rint(image * full), 0, full)
    pixels = rounded.astype(np.uint8) if bits == 8 else rounded.astype(np.uint16)
    return Phantom(_stem(settings, index), pixels, mask, organ)


def _stem(settings: PhantomSettings, index: int) -> str:
    return f"phantom_{settings.seed:03d}_{index:04d}"


def check_free(out: Path, settings: PhantomSettings) -> None:
    """Raise SettingsError when a folder holds what these phantoms would be mixed with."""
    new = {f"{_stem(settings, index)}.png" for index in range(settings.count)}
    found = {path.name for path in (out / "images").glob("*")}
    lists = [name for name in ("train.txt", "test.txt", "README.md") if (out / name).exists()]
    if found - new or (lists and not found):
        held = f"{len(found - new)} other images" if found - new else ", ".join(lists)
        raise SettingsError(f"{out}: holds {held} already; choose another folder")


def write_phantoms(out: Path, settings: PhantomSettings) -> Iterator[Phantom]:
    """Write a data set (images, masks, train.txt, test.txt, README.md) and yield each phantom.

    Every fifth stem goes to test.txt. Existing files of the same names are replaced.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    (out / "masks").mkdir(exist_ok=True)
    stems = []
    for item in phantoms(settings):
        pixels = item.image if item.image.ndim == 2 else cv2.cvtColor(item.image, cv2.COLOR_RGB2BGR)
        write_picture(out / "images" / f"{item.stem}.png", pixels)
        write_mask(out / "masks" / f"{item.stem}.png", item.mask, settings.classes + 1)
        stems.append(item.stem)
        yield item
    test = stems[4::5]
    train = [stem for stem in stems if stem not in set(test)]
    (out / "train.txt").write_text("".join(f"{stem}\n" for stem in train), encoding="utf-8")
    (out / "test.txt").write_text("".join(f"{stem}\n" for stem in test), encoding="utf-8")
    (out / "README.md").write_text(
        f"# Phantoms\nSynthetic, made by `foveate phantom`, seed {settings.seed}. Licence: CC0.\n",
        encoding="utf-8",
    )


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Array:
    """Return smooth noise of mean 0 and deviation 1 whose features are ``cell`` pixels wide."""
    rows, columns = max(2, round(height / cell) + 1), max(2, round(width / cell) + 1)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _polar(height: int, width: int, x: float, y: float) -> tuple[Array, Array]:
    """Return distance and angle of every pixel centre from (x, y)."""
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    return np.hypot(rows, columns), np.arctan2(rows, columns)


def _outline(rng: np.random.Generator, angle: Array, strength: float, waves: range) -> Array:
    """Return a random star-shaped radius factor around 1, one wave per frequency, pink."""
    radius = np.ones_like(angle)
    for wave in waves:
        amplitude = strength * rng.normal() / wave**0.7
        radius += np.float32(amplitude) * np.cos(wave * angle + np.float32(rng.uniform(0, 6.283)))
    return np.maximum(radius, np.float32(0.25))


def _organ(
    rng: np.random.Generator, height: int, width: int
) -> tuple[npt.NDArray[np.bool_], Array]:
    """Return the organ and the depth inside it (1 at the centre, 0 on its rim, then negative)."""
    side = min(height, width)
    distance, angle = _polar(
        height, width, width * rng.uniform(0.36, 0.64), height * rng.uniform(0.36, 0.64)
    )
    tilt, stretch = np.float32(rng.uniform(0, 3.1416)), np.float32(rng.uniform(0.0, 0.25))
    ellipse = 1 + stretch * np.cos(2 * (angle - tilt))
    radius = side * rng.uniform(0.22, 0.3) * ellipse * _outline(rng, angle, 0.05, range(2, 5))
    depth = np.asarray(1 - distance / radius, np.float32)
    return depth > 0, depth


def _blob(
    rng: np.random.Generator,
    shape: tuple[int, int],
    x: float,
    y: float,
    radius: float,
    ragged: bool,
) -> npt.NDArray[np.bool_]:
    """Return a region near (x, y): lobes and bays, and when ``ragged`` spurs and holes as well."""
    height, width = shape
    reach = int(radius * 4) + 4
    x0, y0 = max(0, int(x) - reach), max(0, int(y) - reach)
    x1, y1 = min(width, int(x) + reach), min(height, int(y) + reach)
    distance, angle = _polar(y1 - y0, x1 - x0, x - x0, y - y0)
    edge = radius * _outline(rng, angle, 0.22, range(2, 6))
    level = 1 - distance / edge
    if ragged:
        grain = min(height, width) / 1024
        for cell, depth in (
            (0.6 * radius, 0.14 * radius),
            (14 * grain, 12 * grain),
            (8 * grain, 15 * grain),
        ):
            level += np.float32(depth / radius) * _noise(rng, y1 - y0, x1 - x0, max(3.0, cell))
    region = np.zeros((height, width), bool)
    region[y0:y1, x0:x1] = _largest_component(level > 0)
    return region


def _largest_component(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    if len(statistics) < 2:
        return region
    return np.asarray(labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])))


def _draw_lesions(rng: np.random.Generator, mask: Mask, depth: Array, classes: int) -> None:
    """Draw lesions of every class into ``mask``, together 0.2 to 5% of the image."""
    height, width = mask.shape
    target = float(np.exp(rng.uniform(np.log(0.003), np.log(0.025)))) * mask.size
    parts = rng.dirichlet(np.full(max(classes, int(rng.integers(1, 4))), 6.0))
    candidates = np.flatnonzero(depth > 0.3)
    y0, x0 = divmod(int(rng.choice(candidates)), width)
    spread = 1.6 * np.sqrt(target / np.pi) + 0.02 * min(height, width)
    for number, part in enumerate(parts):
        radius = float(np.sqrt(target * part / np.pi))
        y = int(np.clip(y0 + rng.normal(0, spread) * (number > 0), 0, height - 1))
        x = int(np.clip(x0 + rng.normal(0, spread) * (number > 0), 0, width - 1))
        region = _blob(rng, mask.shape, x + 0.5, y + 0.5, radius, True) & (depth > 0.04)
        region &= mask == 0
        region = _largest_component(region)
        mask[region] = 1 + number % classes
    low, high = 0.002 * mask.size, 0.05 * mask.size
    if not low <= np.count_nonzero(mask) <= high:
        mask[:] = 0
        _draw_lesions(rng, mask, depth, classes)


def _vessels(rng: np.random.Generator, depth: Array) -> Array:
    """Return thin curved bands through the organ in [0, 1], as bright as a lesion."""
    height, width = depth.shape
    canvas = np.zeros((height, width), np.uint8)
    inside = np.flatnonzero(depth > 0)
    for _ in range(int(rng.integers(3, 6))):
        y, x = divmod(int(rng.choice(inside)), width)
        heading, points = rng.uniform(0, 6.283), []
        for _ in range(40):
            points.append((x, y))
            heading += rng.normal(0, 0.25)
            x, y = x + 0.012 * width * np.cos(heading), y + 0.012 * width * np.sin(heading)
        thickness = max(2, int(min(height, width) * rng.uniform(0.003, 0.006)))
        cv2.polylines(
            canvas, [np.array(points).astype(np.int32)], False, 255, thickness, cv2.LINE_AA
        )
    return np.asarray(canvas.astype(np.float32) / 255 * (depth > 0), np.float32)


def _look_alikes(rng: np.random.Generator, organ: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return blobs as bright and as large as lesions, outside the organ, but with a smooth rim."""
    height, width = organ.shape
    near = cv2.dilate(
        organ.astype(np.uint8), np.ones((9, 9), np.uint8), iterations=max(1, width // 100)
    )
    outside = np.flatnonzero(near == 0)
    found = np.zeros_like(organ)
    for _ in range(int(rng.integers(1, 4))):
        y, x = divmod(int(rng.choice(outside)), width)
        radius = min(height, width) * rng.uniform(0.025, 0.07)
        found |= _blob(rng, organ.shape, x + 0.5, y + 0.5, float(radius), False)
    return np.asarray(found & (near == 0))


def _paint(rng: np.random.Generator, mask: Mask, organ: npt.NDArray[np.bool_]) -> Array:
    """Return the image in [0, 1]: tissue, light, blur, speckle and read noise."""
    height, width = mask.shape
    side = min(height, width)
    depth = cv2.distanceTransform(organ.astype(np.uint8), cv2.DIST_L2, 3)
    tissue = 0.42 + 0.035 * _noise(rng, height, width, side / 10)
    tissue = tissue + np.where(organ, np.float32(rng.uniform(0.13, 0.19)), np.float32(0))
    tissue += 0.02 * _noise(rng, height, width, side / 40)
    contrast = rng.uniform(0.18, 0.26)
    lesion = np.zeros_like(tissue)
    for number in range(1, int(mask.max(initial=0)) + 1):
        lesion[mask == number] = contrast * CLASS_CONTRAST[number - 1]
    lesion[_look_alikes(rng, organ)] = contrast
    tissue += lesion
    tissue += contrast * _vessels(rng, np.asarray(depth, np.float32)) * (mask == 0)
    light = 1 + rng.uniform(0.2, 0.35) * _light(rng, height, width)
    image = np.asarray(tissue * light, np.float32)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 1.0))), np.float32)
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 0.8)
    image = image * (1 + np.float32(rng.uniform(0.05, 0.09)) * grain / grain.std())
    image += np.float32(0.012) * rng.standard_normal((height, width)).astype(np.float32)
    return np.clip(np.asarray(image, np.float32), 0, 1)


def _coloured(
    rng: np.random.Generator, grey: Array, mask: Mask, organ: npt.NDArray[np.bool_]
) -> Array:
    """Return (H, W, 3) RGB in [0, 1] whose BT.601 grey is 0.2 + 0.6 ``grey``, whatever the mask."""
    height, width = mask.shape
    hue = rng.uniform(-0.2, 0.2) + 0.1 * _noise(rng, height, width, min(height, width) / 10)
    hue += np.array((0, *CLASS_HUES), np.float32)[mask]
    hue[_look_alikes(rng, organ)] += OTHER_HUE
    blue, red = (
        cv2.GaussianBlur(CHROMA * part(hue), (0, 0), 0.8) + 0.01 * rng.standard_normal(mask.shape)
        for part in (np.cos, np.sin)
    )
    luma = 0.2 + 0.6 * grey
    green = luma - 0.344136 * blue - 0.714136 * red
    return np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], 2).clip(0, 1)


def _light(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return uneven light in about [-1, 1]: a slope and a slow undulation."""
    heading = rng.uniform(0, 6.283)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    slope = rows * np.float32(np.sin(heading)) + columns * np.float32(np.cos(heading))
    return np.asarray(slope + 0.4 * _noise(rng, height, width, max(height, width) / 2), np.float32)
