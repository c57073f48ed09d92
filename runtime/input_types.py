"""8 and 16 bit images as a bundle takes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foveate.runtime.engines.base import Pixels
from foveate.runtime.errors import ImageError
from foveate.runtime.gpu_array import GpuArray


def as_input_type(image: Pixels, input_type: str) -> Pixels:
    """Return an image as the type a bundle takes.

    uint8 to uint16 multiplies by 257, so 255 becomes 65535; uint16 to uint8 divides by 257 and
    rounds. ImageError for anything but a (H, W) uint8 or uint16 array with pixels.
    """
    if not isinstance(image, np.ndarray) or image.ndim != 2 or 0 in image.shape:
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(f"the image is {shape}; wanted a (H, W) array with at least one pixel")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image is {image.dtype}; wanted uint8 or uint16. Convert it first")
    if str(image.dtype) == input_type:
        return image
    if input_type == "uint16":
        return image.astype(np.uint16) * np.uint16(257)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def gpu_feed(image: GpuArray, input_type: str) -> GpuArray:
    """Return an image on a GPU as a batch of one that the graph takes, the same bytes.

    ImageError for anything but (H, W) pixels of the bundle's own type.
    """
    if len(image.shape) != 2 or 0 in image.shape or image.dtype != np.dtype(input_type):
        raise ImageError(
            f"the image on the GPU is {image.shape} {image.dtype}; wanted (H, W) {input_type}, "
            "the bundle's own type"
        )
    tail = (2,) if input_type == "uint16" else ()
    return replace(image, shape=(1, *image.shape, *tail), dtype=np.dtype(np.uint8))
