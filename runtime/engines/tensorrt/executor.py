"""What a slot asks of an engine: the shapes of a run, and its work put into a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from foveate.runtime.arrays import Feed, GpuArray
from foveate.runtime.engines.cuda.device import Stream


@dataclass(frozen=True)
class Tensor:
    """Shape and type of an array that a run takes or gives."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def tensor_of(value: Feed) -> Tensor:
    """Return shape and type of an array, or of the batch that a list of images makes."""
    if isinstance(value, np.ndarray | GpuArray):
        return Tensor(value.shape, value.dtype)
    return Tensor((len(value), *value[0].shape), value[0].dtype)


class Executor(Protocol):
    """One execution context; it belongs to one slot. Called with the device current.

    ``capturable``: what ``enqueue`` does may be captured as a graph and replayed.
    """

    capturable: bool

    def outputs_for(self, inputs: Mapping[str, Tensor], stream: Stream) -> dict[str, Tensor]:
        """Return every output of a run on these inputs; EngineError names what does not fit."""
        ...

    def enqueue(self, addresses: Mapping[str, int], stream: Stream) -> None:
        """Put the run into the stream; inputs and all outputs are at these addresses."""
        ...

    def close(self) -> None: ...
