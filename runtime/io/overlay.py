"""Draw the mask and the box over the image, for people to look at; write pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.channels import grey_of
from foveate.runtime.io.png import class_colour
from foveate.runtime.spec import RGB

Picture = npt.NDArray[np.uint8]
BOX_COLOUR = (255, 220, 60)


def picture_of(image: Pixels, channels: str) -> Picture:
    """Return a bundle's image for looking at: (H, W, 3) of rgb, else (H, W), as ``eight_bit``."""
    return eight_bit(image if channels == RGB else grey_of(image, channels))


def eight_bit(image: Pixels) -> Picture:
    """Return uint8 of the same shape; 16 bit images are stretched from least to greatest."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    low, high = float(image.min()), float(image.max())
    scaled = (image.astype(np.float32) - low) * (255.0 / max(high - low, 1.0))
    return scaled.astype(np.uint8)


def draw_overlay(
    image: Picture, mask: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32] | None
) -> Picture:
    """Return (H, W, 3) uint8 BGR: the image, each class tinted and outlined, the boxes framed.

    The image is (H, W), or (H, W, 3) RGB.

    Lines are as thick as the image is large, so that they show when it is scaled down.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
    line = max(1, round(max(image.shape) / 500))
    for label in np.unique(mask[mask > 0]):
        colour = class_colour(int(label))[::-1]
        inside = mask == label
        picture[inside] = (0.65 * picture[inside] + 0.35 * np.array(colour)).astype(np.uint8)
        outlines, _ = cv2.findContours(
            inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outlines, -1, colour, line)
    for x0, y0, x1, y1 in [] if boxes_xyxy is None else boxes_xyxy:
        corners = (round(float(x0)), round(float(y0))), (round(float(x1)) - 1, round(float(y1)) - 1)
        cv2.rectangle(picture, *corners, BOX_COLOUR[::-1], line)
    return np.asarray(picture, np.uint8)


def write_picture(path: Path, pixels: Array, *options: int) -> None:
    """Write grey or BGR pixels in the format of the path's suffix, whole or not at all.

    ``options`` are those of OpenCV's encoder. Raises OSError.
    """
    done, data = cv2.imencode(path.suffix, pixels, options)
    assert done
    write_atomically(path, data.tobytes())
