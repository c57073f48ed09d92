"""The steps of a training: batches, learning rate, gradients, and the average of the weights."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from foveate.runtime.errors import FoveateError
from foveate.train.data.full_views import WholeAtOwnSize
from foveate.train.fitting.distributed import Processes
from foveate.train.fitting.losses import Loss
from foveate.train.fitting.schedule import Clock, rate_factor
from foveate.train.fitting.view_workers import start_method, worker_count
from foveate.train.runs.checkpoint import Checkpoint
from foveate.train.runs.job import TrainingJob

Items = Sequence[tuple[Tensor, Tensor]] | WholeAtOwnSize
Views = Dataset[tuple[Tensor, Tensor]]
EPOCH_BATCHES = 32
"""An epoch is every training image once, but never fewer batches than this."""


@dataclass(frozen=True)
class Task:
    """One network's training.

    ``name`` is its key in ``run.json``, ``label`` its name in the log. ``share`` is its part of
    ``num_epochs``, or of the time when ``max_minutes`` is given.
    """

    name: str
    label: str
    views: Views
    validation: Items
    images: int
    share: float = 1.0


def half_type(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type that a device has in hardware: bfloat16, float16 or none."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    flags: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if flags.get("avx512_bf16") or flags.get("amx_bf16") else None


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network computes in 16 bits where the device can."""
    half = half_type(device)
    return torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None)


def gradient_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps float16 gradients from vanishing; it does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=half_type(device) == torch.float16)


def depthwise_in_float32(network: nn.Module) -> None:
    """Let depthwise convolutions compute in float32 within autocast on a CPU.

    Their bfloat16 gradients take three to six times as long there (oneDNN in torch 2.13).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return forward(inputs.float()).to(inputs.dtype)


class Steps:
    """One network in training: its optimizer, its average, and the batches it is fed."""

    def __init__(
        self, job: TrainingJob, processes: Processes, task: Task, network: nn.Module, loss: Loss
    ) -> None:
        self.settings, self.report, self.log = job.settings, job.progress, job.log
        self.task = task
        self.processes, self.device = processes, processes.device
        if self.processes.count > 1 and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        if half_type(self.device) is not None and self.device.type == "cpu":
            depthwise_in_float32(network)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay, fused=True,
        )  # fmt: skip
        self.loss = loss
        self.scaler = gradient_scaler(self.device)
        self.checkpoint = Checkpoint(network, self.optimizer)
        self.network = network
        self.forward = self._wrapped(network)
        self.batches = max(EPOCH_BATCHES, math.ceil(task.images / self.settings.batch_size))
        self.rate = 0.0

    def _wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network shared between the processes, and compiled, where that is due."""
        if self.processes.count > 1:
            network = DistributedDataParallel(network)
        if self.device.type == "cuda" and importlib.util.find_spec("triton"):
            network = torch.compile(network)  # type: ignore[assignment]
        return network

    def stream(self, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an endless stream of batches that begins where ``epochs`` epochs ended."""
        batch, rank, count = self.settings.batch_size, self.processes.rank, self.processes.count
        part = batch // count
        starts = range(epochs * self.batches * batch + rank * part, sys.maxsize, batch)
        view_bytes = sum(tensor.nbytes for tensor in self.task.views[0])
        workers, note = worker_count(self.settings.num_workers, part * view_bytes)
        if note and not self.task.name.startswith("fold"):
            self.log(note)
        return iter(
            DataLoader(
                self.task.views,
                batch_size=part,
                sampler=_Parts(starts, part),
                num_workers=workers,
                multiprocessing_context=start_method() if workers else None,
                worker_init_fn=_one_thread,
                pin_memory=self.device.type == "cuda",
            )
        )

    def progress(self, clock: Clock, epoch: int, step: int) -> float:
        """Return how far the training is, from 0 to 1; by time it is the first process's clock."""
        here = clock.progress(epoch, step)
        return self.processes.from_first(here) if clock.seconds else here

    def epoch(self, stream: Iterator[tuple[Tensor, Tensor]], epoch: int, clock: Clock) -> float:
        """Return the mean loss of one epoch of steps; it ends early when the time is up."""
        self.forward.train()
        along = self.progress(clock, epoch, 0)
        total, step = 0.0, 0
        for step, (inputs, target) in enumerate(itertools.islice(stream, self.batches), 1):
            self.rate = self.settings.learning_rate * rate_factor(along)
            total += self._step(inputs, target)
            if not math.isfinite(total):
                raise FoveateError(
                    f"the loss of {self.task.label.lower()} is no longer a number (epoch "
                    f"{epoch + 1}, step {step}); lower learning_rate, now "
                    f"{self.settings.learning_rate}"
                )
            self.report(f"{self.task.label} epoch {epoch + 1}", step, self.batches)
            along = self.progress(clock, epoch, step)
            if along >= 1:
                break
        return total / max(step, 1)

    def _step(self, inputs: Tensor, target: Tensor) -> float:
        """Take one step of AdamW at the present rate and return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        inputs = inputs.to(self.device, non_blocking=True)
        with autocast(self.device):
            logits = self.forward(inputs.contiguous(memory_format=torch.channels_last))
        loss = self.loss(logits.float(), target.to(self.device, non_blocking=True))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.checkpoint.step()
        return float(loss.detach())


@dataclass(frozen=True)
class _Parts:
    """The items of this process: ``length`` of them from every start."""

    starts: range
    length: int

    def __iter__(self) -> Iterator[int]:
        for start in self.starts:
            yield from range(start, start + self.length)


def _one_thread(worker: int) -> None:
    """Keep a view worker on one core: the others belong to the training step."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threadpool_limits(1)
