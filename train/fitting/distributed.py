"""The processes of one training: alone, or those that ``torchrun`` has started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

from foveate.runtime.errors import SettingsError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among ``count``; ``rank`` 0 validates, decides and writes the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def from_first(self, value: T) -> T:
        """Return the value that the first process has; all must call it."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]  # type: ignore[no-any-return]

    def leave(self) -> None:
        """Part from the others when all are done: one that leaves early takes threads down."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def join(device: str, batch_size: int) -> Processes:
    """Return this process's place, from the variables that ``torchrun`` sets.

    SettingsError when the device is not there, or a batch cannot be shared out alike.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % count:
        raise SettingsError(
            f"batch_size is {batch_size}; expected a multiple of the {count} processes, "
            f"for example {count * max(1, round(batch_size / count))}"
        )
    found = _device(device)
    if count == 1:
        return Processes(0, 1, found)
    if found.type == "cuda":
        found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(found)
    distributed.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return Processes(distributed.get_rank(), count, found)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f'device is "{name}", but torch sees no CUDA device; use device=cpu')
    return torch.device(name)
