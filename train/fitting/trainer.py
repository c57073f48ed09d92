"""Training one network: epochs, validation, and a state to go on from."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveate.runtime.bundle.bundle import file_sha256
from foveate.train.calibration.decision import Chosen
from foveate.train.fitting.distributed import Processes
from foveate.train.fitting.losses import mean_dice, stage_loss, view_dice
from foveate.train.fitting.schedule import Clock, shares
from foveate.train.fitting.steps import Items, Steps, Task, autocast
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
            started -= curve[-1]["seconds"]
        clock = Clock(started, self._seconds(task.name), epochs, running.batches)
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
        parts, stages = self.parts, self.record["stages"]
        own = stages[name]["curve"]
        spent = time.monotonic() - self.job.started + self.earlier
        left: float = self.settings.max_minutes * 60 * sum(parts.values()) - spent
        if own:
            left += own[-1]["seconds"]
        to_train = [other for other in parts if not stages.get(other, {}).get("done")]
        return max(left * parts[name] / sum(parts[other] for other in to_train), 1.0)

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

    def answer(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return a network's logits, float32 on the CPU, as it gives them when trained."""
        network.eval()
        with torch.inference_mode(), autocast(self.device):
            logits: Tensor = network(inputs.to(self.device)).float().cpu()
        return logits

    def _judge(self, network: nn.Module, weights: dict[str, Tensor], items: Items) -> float:
        """Return the validation Dice of weights; the network has its own again afterwards.

        It is the mean over images and classes that have any truth or prediction.
        """
        if not self.processes.first:
            return self.processes.from_first(0.0)
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(weights)
        scores = []
        for index in range(len(items)):
            inputs, target = items[index]
            scores.append(view_dice(self.answer(network, inputs[None]), target[None]))
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
