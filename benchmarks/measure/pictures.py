"""Pictures on the pages: what differs between mask and truth, and pictures as text."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt

from foveate.runtime.io.overlay import draw_overlay
from foveate.runtime.io.png import class_colour

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
PAGE_SIDE = 420
TOO_MUCH, MISSED, CONFUSED = 4, 3, 5
"""Class colours of the pixels that differ: amber, blue, violet."""


def difference(image: Picture, mask: Mask, truth: Mask) -> Picture:
    """Return (H, W, 3) uint8 BGR: the truth over a (H, W) uint8 image, what differs in colour.

    Pixels found too many are amber, those missed blue, those of another class than the truth's
    violet. ``mask`` and ``truth`` are (H, W) class indices.
    """
    picture = draw_overlay(image, np.minimum(truth, 1), None)
    picture[(mask > 0) & (truth == 0)] = class_colour(TOO_MUCH)[::-1]
    picture[(mask == 0) & (truth > 0)] = class_colour(MISSED)[::-1]
    picture[(mask > 0) & (truth > 0) & (mask != truth)] = class_colour(CONFUSED)[::-1]
    return picture


def data_uri(picture: Picture) -> str:
    """Return a (H, W, 3) BGR picture as a JPEG data URI, its longer side at most PAGE_SIDE."""
    scale = PAGE_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
