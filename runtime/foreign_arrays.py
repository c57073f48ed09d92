"""Arrays of other libraries: on the host by DLPack, on a GPU by ``__cuda_array_interface__``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any, Protocol

import numpy as np

from foveate.runtime.engines.base import Array, Pixels
from foveate.runtime.errors import ImageError
from foveate.runtime.gpu_array import GpuArray

LEGACY_STREAM = 1
"""CUDA's default stream, on which libraries work unless they were told otherwise."""
GPU_KINDS = (2, 10)
"""DLPack's numbers of memory that a host cannot read: of CUDA, of ROCm."""
NEWEST_INTERFACE = 3
"""The newest version of ``__cuda_array_interface__`` known here."""


class OnHost(Protocol):
    """An array that gives its memory by DLPack."""

    def __dlpack__(self, **options: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


class OnGpu(Protocol):
    """An array in the memory of a CUDA GPU."""

    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]: ...


Image = Pixels | OnHost | OnGpu
"""What a cascade takes for an image: (H, W), uint8 or uint16."""
Taken = Pixels | GpuArray


def taken(image: Image) -> Taken:
    """Return an image as numpy's array without a copy, or where it lies on the GPU.

    What is neither comes back as it is, and is refused where its shape is looked at. ImageError
    for memory that cannot be reached, and for a MaskedArray: nothing here knows of hidden pixels.
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
            "__cuda_array_interface__; wanted one that has, or a copy on the host"
        )
    return _on_host(image)


def shape_of(image: Taken) -> tuple[int, ...]:
    """Return the shape of what is taken for an image, () where it is none and will be refused."""
    return tuple(getattr(image, "shape", ()))


def target(out: Image, shape: tuple[int, ...]) -> Taken:
    """Return where a mask of a shape is to be written; ImageError where it cannot be."""
    found = taken(out)
    if getattr(found, "shape", None) != shape or found.dtype != np.uint8:
        kind = f"{getattr(found, 'shape', type(out).__name__)} {getattr(found, 'dtype', '')}"
        raise ImageError(f"out is {kind}; wanted {shape} uint8, as the mask will be")
    if isinstance(found, np.ndarray) and not found.flags.writeable:
        raise ImageError(
            "out cannot be written to; wanted an array that can, and of DLPack 1.0 or later: "
            "numpy only reads what comes by an older one"
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
    """Return numpy's own array of the same memory: a subclass may do arithmetic of its own."""
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
        raise ImageError(
            "the array is a MaskedArray, whose mask would be passed over; expected a plain array: "
            "its .data, or .filled(VALUE) to set what is masked"
        )
    return np.asarray(array)


def _overlaps_itself(array: Array) -> bool:
    """Say whether two pixels of an (H, W) array of bytes lie in one place."""
    if array.ndim != 2:
        return False  # is refused by its shape
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
        raise ImageError(f"the array on the GPU has strides {strides}; wanted it contiguous")
    producer = interface["stream"] if "stream" in interface else LEGACY_STREAM
    address, read_only = interface["data"]
    return GpuArray(shape, dtype, int(address), producer, owner, bool(read_only))


def _is_contiguous(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Say whether strides are those of a C-contiguous array; those of a side of 1 may be any."""
    expected = itemsize
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length > 1 and stride != expected:
            return False
        expected *= length
    return True
