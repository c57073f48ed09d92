"""Array types of the runtime, and the conversion of images into a graph's input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from foveate.runtime.errors import ImageError

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""An image, (H, W) or (H, W, C), or a batch of images, (N, H, W) or (N, H, W, C)."""


@dataclass(frozen=True)
class GpuArray:
    """A C-contiguous array of another library at an ``address`` of the GPU; ``owner`` keeps it.

    ``producer`` is the stream whose work must finish before the array is used, None for none:
    handle 2 is the default stream of the requesting thread.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    address: int
    producer: int | None
    owner: object
    read_only: bool = False

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def size(self) -> int:
        return prod(self.shape)


Feed = Array | Sequence[Array] | GpuArray
"""A batch: an array, images of one shape, or an array on the GPU."""
HOST: Mapping[str, GpuArray] = MappingProxyType({})
"""No output stays on the GPU."""


def feed(pixels: Pixels) -> Array:
    """Return a batch of pixels as the graph's input, without a copy.

    uint8 unchanged; uint16 as its little-endian bytes, (..., 2) uint8.
    """
    if pixels.dtype == np.uint8:
        return pixels
    little = np.ascontiguousarray(pixels.astype("<u2", copy=False))
    return little.view(np.uint8).reshape(*pixels.shape, 2)


def as_input_type(image: Pixels, input_type: str, channels: int = 1) -> Pixels:
    """Return an image converted to the input type of a bundle.

    uint8 to uint16 multiplies by 257, so 255 becomes 65535; uint16 to uint8 divides by 257 and
    rounds. Raises ImageError for anything but a uint8 or uint16 array of pixels, (H, W) or, with
    several channels, (H, W, channels).
    """
    sides = image.shape if isinstance(image, np.ndarray) else ()
    if not has_channels(sides, channels):
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(
            f"the image is {shape}; expected a {_sides(channels)} array with at least one pixel"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image is {image.dtype}; expected uint8 or uint16. Convert it first")
    if str(image.dtype) == input_type:
        return image
    if input_type == "uint16":
        return image.astype(np.uint16) * np.uint16(257)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def has_channels(shape: Sequence[int], channels: int) -> bool:
    """Return whether a shape is that of an image with pixels, (H, W), or (H, W, channels)."""
    return len(shape) >= 2 and 0 not in shape and tuple(shape[2:]) == (channels,) * (channels > 1)


def _sides(channels: int) -> str:
    return "(H, W)" if channels == 1 else f"(H, W, {channels})"


def gpu_feed(image: GpuArray, input_type: str, channels: int = 1) -> GpuArray:
    """Return an image on a GPU as a batch of one for the graph, at the same address.

    Raises ImageError for anything but pixels of the bundle's own type and channels.
    """
    if not has_channels(image.shape, channels) or image.dtype != np.dtype(input_type):
        raise ImageError(
            f"the image on the GPU is {image.shape} {image.dtype}; expected {_sides(channels)} "
            f"{input_type}, the bundle's own type"
        )
    tail = (2,) if input_type == "uint16" else ()
    return replace(image, shape=(1, *image.shape, *tail), dtype=np.dtype(np.uint8))
