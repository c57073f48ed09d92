"""Training one network: epochs, validation, and a state to go on from."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveate.runtime.bundle.bundle import file_sha256
from foveate.train.calibration.choosing import Choosing, Chosen
from foveate.train.fitting.distributed import Processes
from foveate.train.fitting.losses import mean_dice, stage_loss, view_dice
from foveate.train.fitting.schedule import Clock, shares
from foveate.train.fitting.steps import Steps, Task, autocast
from foveate.train.runs.checkpoint import Checkpoint
from foveate.train.runs.curves import curve_line
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.run import load_stage, save_tensors, write_run


class Trainer:
    """Trains one network after the other and keeps ``run.json`` true after every epoch."""

    def __init__(self, job: TrainingJob, record: dict[str, Any], processes: Processes) -> None:
        self.job, self.record, self.processes = job, record, processes
        self.settings, self.device = job.settings, processes.device
        self.parts = shares(job.settings, job.stages)
        curves = [record["stages"].get(name, {}).get("curve") for name in self.parts]
        self.earlier = sum(curve[-1]["seconds"] for curve in curves if curve)

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
        objective = stage_loss(self.settings, self.record["spec"]["classes"], task.views)
        running = Steps(self.job, self.processes, task, network, objective)
        curve = stage["curve"]
        if curve:
            running.checkpoint.load(self._state_path(len(curve)))
            self._keep_best(task.name, running.checkpoint)
            self.job.log(f"{task.label} continues after epoch {len(curve)}.")
            started -= curve[-1]["seconds"]
        clock = Clock(started, self._seconds(task.name), epochs, running.batches)
        batches = running.stream(len(curve))
        for epoch in itertools.count(len(curve)):
            if curve and running.progress(clock, epoch, 0) >= 1:
                break
            loss = running.epoch(batches, epoch, clock)
            weights = running.checkpoint.averaged()
            dice = self._judge(network, weights, task)
            best = max((row["dice"] for row in curve), default=-1.0)
            improved = dice > best or dice == best == 0  # of networks that find nothing, the latest
            curve.append(
                {"epoch": epoch + 1, "loss": round(loss, 5), "dice": round(dice, 5),
                 "rate": running.rate, "seconds": round(time.monotonic() - started, 1)}
            )  # fmt: skip
            if improved:
                running.checkpoint.best = weights
            self._keep(task.name, running.checkpoint, improved)
            eta = self.eta(task.name, clock, epoch + 1)
            self.job.log(
                f"{task.label} {_place(clock, epoch + 1)}, Loss: {loss:.4f}, Dice: {dice:.4f}, "
                f"ETA of the run {eta / 60:.1f} min" + " Best model saved." * improved
            )
            if self.processes.first:
                self.job.watch(task.name, curve[-1])
        stage["done"] = True
        self.write()
        if curve:
            self.job.log(curve_line(task.label, curve))

    def _seconds(self, name: str) -> float:
        """Return a network's part of what is left of ``max_minutes``; 0 without a limit.

        A part of it that a run was trained before it was resumed counts as spent.
        """
        if not self.settings.max_minutes:
            return 0.0
        own = self.record["stages"].get(name, {}).get("curve")
        left = self.left() - self._kept * self.settings.max_minutes * 60
        if own:
            left += own[-1]["seconds"]
        to_train = self._to_train()
        return max(left * to_train[name] / sum(to_train.values()), 1.0)

    @property
    def _kept(self) -> float:
        """The share of ``max_minutes`` that no network gets."""
        return 1 - sum(self.parts.values())

    def _to_train(self) -> dict[str, float]:
        """Return the shares of the networks that are not done."""
        stages = self.record["stages"]
        return {
            name: share
            for name, share in self.parts.items()
            if not stages.get(name, {}).get("done")
        }

    def left(self) -> float:
        """Return the seconds that are left of ``max_minutes``; infinite without a limit."""
        if not self.settings.max_minutes:
            return math.inf
        spent: float = time.monotonic() - self.job.started + self.earlier
        return max(self.settings.max_minutes * 60 - spent, 0.0)

    def eta(self, name: str, clock: Clock, done: int) -> float:
        """Return the seconds left of the run when a network has ``done`` epochs.

        Without ``max_minutes`` they are estimated by the pixels of the views that are left.
        """
        if self.settings.max_minutes:
            return self.left()
        progress = min(clock.progress(done, 0), 1.0)
        pace = clock.spent / max(progress * self.parts[name], 1e-9)
        after = sum(self._to_train().values()) - progress * self.parts[name]
        return pace * (after + self._kept)

    def plan(self) -> str:
        """Return what each part of the run gets of ``max_minutes``, in words."""
        minutes = {name: self._seconds(name) / 60 for name in self._to_train()}
        hints = [name for name in minutes if name.startswith("fold")]
        words = [f"{name[:5]} {name[5]} {minutes[name]:.1f}" for name in minutes.keys() - hints]
        words.sort()
        if hints:
            words.insert(-1, f"hint networks {len(hints)} x {minutes[hints[0]]:.1f}")
        whole, left = self.settings.max_minutes, self.left() / 60
        if self.job.stages != "1":
            words.append(f"choosing {max(left - sum(minutes.values()), 0):.1f}")
        return f"Of {whole:g} min: so far {whole - left:.1f}, {', '.join(words)}."

    def write(self) -> None:
        """Write ``run.json``; the first process alone does."""
        if self.processes.first:
            write_run(self.job.folder, self.record)

    def choose(self, stage: dict[str, Any], key: str, choice: Callable[[Choosing], Chosen]) -> None:
        """Let the first process choose; keep the table under ``key``, and what the cascade is."""
        until = time.monotonic() + self.left()
        choosing = Choosing(self.job.log, self.job.progress, until)
        chosen = self.processes.from_first(choice(choosing) if self.processes.first else None)
        assert chosen is not None
        self.record["spec"], stage[key] = chosen[0].as_dict(), chosen[1]
        self.write()

    def answer(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return a network's logits, float32 on the CPU, as it gives them when trained."""
        network.eval()
        with torch.inference_mode(), autocast(self.device):
            logits: Tensor = network(inputs.to(self.device)).float().cpu()
        return logits

    def _judge(self, network: nn.Module, weights: dict[str, Tensor], task: Task) -> float:
        """Return the validation Dice of weights; the network has its own again afterwards.

        It is the mean over images and classes that have any truth or prediction.
        """
        if not self.processes.first:
            return self.processes.from_first(0.0)
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(weights)
        scores, count = [], len(task.validation)
        for index in range(count):
            inputs, target = task.validation[index]
            scores.append(view_dice(self.answer(network, inputs[None]), target[None]))
            self.job.progress(f"{task.label} validation", index + 1, count)
        network.load_state_dict(own)
        return self.processes.from_first(mean_dice(scores))

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


def _place(clock: Clock, done: int) -> str:
    """Return how far a network is after ``done`` epochs: in minutes where time decides."""
    if clock.seconds:
        return f"Epoch {done}, {clock.spent / 60:.1f} of {clock.seconds / 60:.1f} min"
    return f"Epoch [{done}/{clock.num_epochs}]"
