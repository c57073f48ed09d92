"""Convert what a file holds to the channels that a bundle expects, and channels to one grey value.

Grey files are repeated for ``rgb``, colours become grey for ``grey``; other counts are refused.
"""

from __future__ import annotations

import cv2
import numpy as np

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.header import GREY_MODES, MULTI, Header
from foveate.runtime.spec import GREY, RGB, channel_count


def check_channels(header: Header, channels: str) -> None:
    """Raise ImageError where an image has channels that do not become those of a bundle."""
    if header.mode != MULTI and channels in (GREY, RGB):
        return
    found, expected = header.channels, channel_count(channels)
    if found == expected and channels != GREY:
        return
    named = "grey or RGB" if channels in (GREY, RGB) else str(expected)
    own = {1: GREY, 3: RGB}.get(found, found) if header.mode != MULTI else found
    raise ImageError(
        f"has {found} channel{'s' * (found > 1)}; expected {named}. Convert it, or use a model "
        f"trained with channels={own}"
    )


def converted_to(header: Header, channels: str) -> str:
    """Return ``channels`` where an image was converted to them, "" where it has them itself."""
    if channels == GREY:
        return GREY if header.colour else ""
    return RGB if channels == RGB and header.mode in GREY_MODES else ""


def as_channels(pixels: Pixels, channels: str) -> Pixels:
    """Return pixels that passed ``check_channels`` as those of a bundle: grey is repeated."""
    if channels == GREY and pixels.ndim == 3:
        return _pixels(cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_RGB2GRAY))
    if channels != GREY and pixels.ndim == 2:
        return _pixels(cv2.merge([pixels] * channel_count(channels)))
    return _pixels(pixels[:, :, :3]) if channels == RGB else pixels


def grey_of(image: Pixels, channels: str) -> Pixels:
    """Return an image of a bundle as (H, W) of its own type.

    BT.601 luma of ``rgb``, the rounded mean of N channels.
    """
    if image.ndim == 2:
        return image
    if channels == RGB:
        return _pixels(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY))
    count = image.shape[2]
    total = image.sum(axis=2, dtype=np.uint32)
    return _pixels(((total + count // 2) // count).astype(image.dtype))


def _pixels(values: Array) -> Pixels:
    return np.ascontiguousarray(values)
