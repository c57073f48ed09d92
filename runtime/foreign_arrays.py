"""Arrays of other libraries: on the host by DLPack, on a GPU by ``__cuda_array_interface__``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any, Protocol

import numpy as np

from foveate.runtime.arrays import Array, GpuArray, Pixels
from foveate.runtime.errors import ImageError

LEGACY_STREAM = 1
"""CUDA's default stream, which libraries use unless told otherwise."""
GPU_KINDS = (2, 10)
"""DLPack's device types of memory that a host cannot read: CUDA, ROCm."""
NEWEST_INTERFACE = 3
"""The newest supported version of ``__cuda_array_interface__``."""


class OnHost(Protocol):
    """An array that exports its memory by DLPack."""

    def __dlpack__(self, **options: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


class OnGpu(Protocol):
    """An array in the memory of a CUDA GPU."""

    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]: ...


Image = Pixels | OnHost | OnGpu
"""An image for a cascade: uint8 or uint16, (H, W) or, of several channels, (H, W, C)."""
HostOrDeviceImage = Pixels | GpuArray


def as_image(image: Image) -> HostOrDeviceImage:
    """Return an image as a numpy array without a copy, or as an array on the GPU.

    Anything else is returned unchanged and refused when its shape is checked. Raises ImageError for
    unreachable memory, and for a MaskedArray, whose mask would be ignored.
    """
    if isinstance(image, GpuArray):
        return image
    if isinstance(image, np.ndarray):
        return _plain(image)
    try:
        interface = getattr(image, "__cuda_array_interface__", None)
    except RuntimeError as error:  # PyTorch's, of a tensor that requires grad
        raise ImageError(
            f"the image, a {type(image).__name__}, does not give its memory on the GPU ({error}); "
            "expected an array without a gradient: tensor.detach()"
        ) from error
    if interface is not None:
        return _on_gpu(interface, image)
    place = getattr(image, "__dlpack_device__", None)
    if place is None:
        return image  # type: ignore[return-value]  # and is refused by name
    if place()[0] in GPU_KINDS:
        raise ImageError(
            f"the image is a {type(image).__name__} on a GPU that has no "
            "__cuda_array_interface__; expected one that has, or a copy on the host"
        )
    return _on_host(image)


def shape_of(image: HostOrDeviceImage) -> tuple[int, ...]:
    """Return the shape of an image, () for an object without one, which is refused later."""
    return tuple(getattr(image, "shape", ()))


def output_array(out: Image, shape: tuple[int, ...]) -> HostOrDeviceImage:
    """Return the array to write a mask of a shape to; ImageError if it is unsuitable."""
    found = as_image(out)
    if getattr(found, "shape", None) != shape or found.dtype != np.uint8:
        kind = f"{getattr(found, 'shape', type(out).__name__)} {getattr(found, 'dtype', '')}"
        raise ImageError(f"out is {kind}; expected {shape} uint8, like the mask")
    if isinstance(found, np.ndarray) and not found.flags.writeable:
        raise ImageError(
            "out is read-only; expected a writable array and DLPack 1.0 or later: numpy only reads "
            "arrays exported by an older one"
        )
    if isinstance(found, GpuArray) and found.read_only:
        raise ImageError("out is a read-only array on the GPU; expected one that can be written to")
    if isinstance(found, np.ndarray) and _overlaps_itself(found):
        raise ImageError(
            f"out has strides {found.strides}, so that pixels share their memory; expected an "
            "array with memory for each"
        )
    return found


def _plain(array: Array) -> Array:
    """Return a plain numpy array of the same memory: a subclass may override arithmetic."""
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
        raise ImageError(
            "the array is a MaskedArray, whose mask would be ignored; expected a plain array: "
            "its .data, or .filled(VALUE) to replace masked pixels"
        )
    return np.asarray(array)


def _overlaps_itself(array: Array) -> bool:
    """Return whether two pixels of an (H, W) array of bytes share memory."""
    if array.ndim != 2:
        return False  # refused by its shape
    height, width = array.shape
    down, right = array.strides
    common = gcd(down, right)
    if common == 0:
        return array.size > 1
    return bool(abs(right) // common < height and abs(down) // common < width)


def _on_host(image: Any) -> Array:
    try:
        return np.from_dlpack(image)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ImageError(
            f"the image, a {type(image).__name__}, cannot be read by DLPack: {error}"
        ) from error


def _on_gpu(interface: Mapping[str, Any], owner: object) -> GpuArray:
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if interface.get("version", 0) > NEWEST_INTERFACE:
        raise ImageError(
            f"the array on the GPU has version {interface['version']} of "
            f"__cuda_array_interface__; expected {NEWEST_INTERFACE} or older"
        )
    if interface.get("mask") is not None:
        raise ImageError("the array on the GPU has a mask of valid elements; expected one without")
    strides = interface.get("strides")
    if strides is not None and not _is_contiguous(shape, strides, dtype.itemsize):
        raise ImageError(f"the array on the GPU has strides {strides}; expected a contiguous one")
    producer = interface["stream"] if "stream" in interface else LEGACY_STREAM
    address, read_only = interface["data"]
    return GpuArray(shape, dtype, int(address), producer, owner, bool(read_only))


def _is_contiguous(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Return whether strides are C-contiguous; the stride of a side of 1 may be anything."""
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != expected:
            return False
        expected *= length
    return True
