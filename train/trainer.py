"""Training one network: epochs, learning rate, validation, and a state to go on from."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from foveate.runtime.bundle import file_sha256
from foveate.runtime.errors import FoveateError
from foveate.train.amp import autocast, gradient_scaler
from foveate.train.checkpoint import Checkpoint
from foveate.train.choices import Chosen
from foveate.train.class_weights import stage_loss
from foveate.train.curve_line import curve_line
from foveate.train.distributed import Processes
from foveate.train.full_views import WholeAtOwnSize
from foveate.train.losses import mean_dice, view_dice
from foveate.train.record import Job
from foveate.train.run import load_stage, save_tensors, write_run
from foveate.train.schedule import Clock, rate_factor

Items = Sequence[tuple[Tensor, Tensor]] | WholeAtOwnSize
Views = Dataset[tuple[Tensor, Tensor]]
EPOCH_BATCHES = 32
"""An epoch is every training image once, but never fewer batches than this."""


@dataclass(frozen=True)
class Task:
    """One network's training.

    ``name`` is its key in ``run.json``, ``label`` its name in the log. ``share`` is its part of
    ``num_epochs``; ``seconds`` its time when ``max_minutes`` is given, else 0.
    """

    name: str
    label: str
    views: Views
    validation: Items
    images: int
    share: float = 1.0
    seconds: float = 0.0


class Trainer:
    """Trains one network after the other and keeps ``run.json`` true after every epoch."""

    def __init__(self, job: Job, record: dict[str, Any], processes: Processes) -> None:
        self.job, self.record, self.processes = job, record, processes
        self.settings, self.device = job.settings, processes.device

    def fit(self, task: Task, network: nn.Module) -> None:
        """Train a network; its best weights by validation Dice end in ``name.safetensors``."""
        stage = self.record["stages"].setdefault(task.name, {"curve": [], "done": False})
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not stage["done"]:
            self._fit(task, network, stage)
            stage.update(self.processes.from_first(stage))
        load_stage(self.job.folder, self.record, task.name, network)

    def _fit(self, task: Task, network: nn.Module, stage: dict[str, Any]) -> None:
        epochs = max(1, round(self.settings.num_epochs * task.share))
        started = time.monotonic()
        running = _Running(self, task, network)
        curve = stage["curve"]
        if curve:
            running.checkpoint.load(self._state_path(len(curve)))
            self._keep_best(task.name, running.checkpoint)
            started -= curve[-1]["seconds"]
        clock = Clock(started, task.seconds, epochs, running.batches)
        batches = running.stream(len(curve))
        for epoch in itertools.count(len(curve)):
            if running.progress(clock, epoch, 0) >= 1:
                break
            loss = running.epoch(batches, epoch, clock)
            weights = running.checkpoint.averaged()
            dice = self._judge(network, weights, task.validation)
            improved = dice > max((row["dice"] for row in curve), default=-1.0)
            curve.append(
                {"epoch": epoch + 1, "loss": round(loss, 5), "dice": round(dice, 5),
                 "rate": running.rate, "seconds": round(time.monotonic() - started, 1)}
            )  # fmt: skip
            if improved:
                running.checkpoint.best = weights
            self._keep(task.name, running.checkpoint, improved)
            self.job.log(
                f"{task.label} Epoch [{epoch + 1}/{clock.epochs(epoch + 1)}], Loss: {loss:.4f}, "
                f"Dice: {dice:.4f}, ETA {clock.eta(epoch + 1):.1f} min"
                + (" Best model saved." if improved else "")
            )
            self.job.watch(task.name, curve[-1])
        stage["done"] = True
        self.write()
        if curve:
            self.job.log(curve_line(task.label, curve))

    def write(self) -> None:
        """Write ``run.json``; the first process alone does."""
        if self.processes.first:
            write_run(self.job.folder, self.record)

    def choose(self, stage: dict[str, Any], key: str, choice: Callable[[], Chosen]) -> None:
        """Let the first process choose; keep the table under ``key``, and what the cascade is."""
        chosen = self.processes.from_first(choice() if self.processes.first else None)
        assert chosen is not None
        self.record["spec"], stage[key] = chosen[0].as_dict(), chosen[1]
        self.write()

    def validate(self, network: nn.Module, items: Items) -> float:
        """Return the mean Dice over images and classes that have any truth or prediction."""
        scores = []
        for index in range(len(items)):
            inputs, target = items[index]
            scores.append(view_dice(self.answer(network, inputs[None]), target[None]))
        return mean_dice(scores)

    def answer(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return a network's logits, float32 on the CPU, as it gives them when trained."""
        network.eval()
        with torch.inference_mode(), autocast(self.device):
            logits: Tensor = network(inputs.to(self.device)).float().cpu()
        return logits

    def _judge(self, network: nn.Module, weights: dict[str, Tensor], items: Items) -> float:
        """Return the validation Dice of weights; the network has its own again afterwards."""
        if not self.processes.first:
            return self.processes.from_first(0.0)
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(weights)
        dice = self.validate(network, items)
        network.load_state_dict(own)
        return self.processes.from_first(dice)

    def _keep(self, name: str, checkpoint: Checkpoint, improved: bool) -> None:
        """Write what the run goes on from; ``run.json`` comes last, and says which state holds."""
        if not self.processes.first:
            return
        if improved:
            self._keep_best(name, checkpoint)
        checkpoint.save(self._state_path(len(self.record["stages"][name]["curve"])))
        self.write()

    def _keep_best(self, name: str, checkpoint: Checkpoint) -> None:
        if self.processes.first:
            path = self.job.folder / f"{name}.safetensors"
            save_tensors(path, checkpoint.best)
            self.record["stages"][name]["sha256"] = file_sha256(path)

    def _state_path(self, epochs: int) -> Path:
        """Return the state's file: two take turns, so that the one of ``run.json`` is whole."""
        return self.job.folder / f"last-{epochs % 2}.safetensors"

    def clean(self) -> None:
        """Remove the states and the networks of the folds: the run is complete."""
        if self.processes.first:
            for epochs in (0, 1):
                self._state_path(epochs).unlink(missing_ok=True)
            for name in self.record["stages"].keys() - {"stage1", "stage2"}:
                (self.job.folder / f"{name}.safetensors").unlink(missing_ok=True)


class _Running:
    """One network in training: its optimizer, its average, and the batches it is fed."""

    def __init__(self, trainer: Trainer, task: Task, network: nn.Module) -> None:
        self.settings, self.device = trainer.settings, trainer.device
        self.processes, self.report = trainer.processes, trainer.job.progress
        self.task = task
        if self.processes.count > 1 and self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )  # fmt: skip
        self.loss = stage_loss(self.settings, trainer.record["spec"]["classes"], task.views)
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
        return iter(
            DataLoader(
                self.task.views,
                batch_size=part,
                sampler=_Parts(starts, part),
                num_workers=self.settings.num_workers,
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
