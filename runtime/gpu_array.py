"""An array that somebody else holds in a GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np


@dataclass(frozen=True)
class GpuArray:
    """Somebody's C-contiguous array at an ``address`` of the GPU; ``owner`` keeps it there.

    ``producer`` is the stream whose work must be over before it is touched, None for none: its
    handle 2 is the default stream of the thread that asked for it.
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
