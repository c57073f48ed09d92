"""Draw the picture of README.md: image, box, mask and truth of a photograph and of a phantom.

Run from a checkout: ``python benchmarks/scripts/readme_picture.py BSDATA BUNDLE OUT.jpg``, where
BUNDLE is trained on BSDATA.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from foveate.runtime import Cascade
from foveate.runtime.io.images import read_image
from foveate.train.data.phantom import PhantomSettings, phantom

ROOT = Path(__file__).parents[2]
STEM = "bsd_01_200907232552_635000_270_crop_1"
SIDE, GAP, HEAD = 300, 8, 24
BOX, MASK, TRUTH = (255, 196, 0), (230, 60, 40), (40, 160, 255)
Pixels = npt.NDArray[np.uint8]


def tinted(grey: Pixels, mask: Pixels, colour: tuple[int, int, int]) -> Pixels:
    """Return (H, W, 3) RGB: the image with the foreground of ``mask`` half covered."""
    picture = np.repeat(grey[:, :, None], 3, 2)
    where = mask > 0
    picture[where] = (picture[where] * 0.45 + np.array(colour) * 0.55).astype(np.uint8)
    return picture


def fitted(picture: Pixels) -> Image.Image:
    """Return the picture ``SIDE`` pixels wide, its shape kept."""
    size = (SIDE, round(picture.shape[0] * SIDE / picture.shape[1]))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return Image.fromarray(small)


def panels(
    bundle: Path, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], truth: Pixels
) -> list[Image.Image]:
    """Return the whole image with its box, and image, mask and truth inside the box."""
    with Cascade.load(bundle, "onnxruntime") as cascade:
        result = cascade(image)
    left, top, right, bottom = (int(side) for side in result.box_xyxy[0])
    grey = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image.astype(np.uint8)
    whole = np.repeat(grey[:, :, None], 3, 2)
    cv2.rectangle(whole, (left, top), (right - 1, bottom - 1), BOX, max(grey.shape) // 150)
    part = (slice(top, bottom), slice(left, right))
    grey, mask, real = grey[part], result.mask[part], truth[part]
    views = (
        whole,
        np.repeat(grey[:, :, None], 3, 2),
        tinted(grey, mask, MASK),
        tinted(grey, real, TRUTH),
    )
    return [fitted(view) for view in views]


def main(data: Path, bundle: Path, out: Path) -> None:
    """Write the picture of one test image of bsdata and of one phantom."""
    photograph = read_image(next((data / "images").glob(f"{STEM}.*")))
    truth = np.asarray(Image.open(next((data / "masks").glob(f"{STEM}.*"))))
    drawn = phantom(PhantomSettings(1, 1024, 20261), 0)
    rows = [
        panels(bundle, photograph, truth),
        panels(ROOT / "benchmarks/demo_bundle", drawn.image, drawn.mask),
    ]
    heights = [max(view.height for view in views) for views in rows]
    page = Image.new("RGB", (4 * SIDE + 3 * GAP, HEAD + sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(16)
    for column, title in enumerate(("image and box", "inside the box", "mask", "truth")):
        draw.text((column * (SIDE + GAP) + 2, 2), title, "black", font)
        top = HEAD
        for height, views in zip(heights, rows, strict=True):
            page.paste(views[column], (column * (SIDE + GAP), top))
            top += height + GAP
    page.save(out, quality=70, progressive=True, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
