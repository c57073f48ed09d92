"""The state a training goes on from: weights, their moving average, the best, AdamW's moments."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from foveate.train.runs.run import check_tensors, load_tensors, load_weights, save_tensors

AVERAGE = 0.995
"""Share of the moving average that a step keeps, once there were enough steps to average."""

Weights = dict[str, Tensor]


def moving_average(network: nn.Module) -> AveragedModel:
    """Return the exponential moving average of a network's weights (Polyak, Juditsky 1992).

    It forgets faster while it is young, so that a short training is not held at its beginning.
    """

    def average(kept: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        share = min(AVERAGE, (1 + int(count)) / (10 + int(count)))
        if kept[0].is_floating_point():
            torch._foreach_lerp_(kept, current, 1 - share)
        else:  # counts of batches
            torch._foreach_copy_(kept, current)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]


class Checkpoint:
    """What one network's training needs to go on; ``best`` holds the weights kept so far."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.optimizer = network, optimizer
        self.average = moving_average(network)
        self.best: Weights = {}

    def step(self) -> None:
        """Take the network's weights into the average."""
        self.average.update_parameters(self.network)

    def averaged(self) -> Weights:
        """Return a copy of the averaged weights, under the network's own names."""
        state = self.average.module.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file, atomically."""
        tensors = _named("network", self.network.state_dict())
        tensors |= _named("average", self.average.module.state_dict())
        tensors |= _named("best", self.best)
        tensors["steps"] = self.average.n_averaged.reshape(1)
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= _named(f"optimizer.{index}", state)
        save_tensors(path, tensors)

    def load(self, path: Path) -> None:
        """Put the state back; BundleError names tensors that do not fit."""
        tensors = load_tensors(path)
        self.best = _part(tensors, "best")
        load_weights(self.network, _part(tensors, "network"), path)
        load_weights(self.average.module, _part(tensors, "average"), path)
        self.average.n_averaged.copy_(tensors["steps"][0])
        moments, expected = _part(tensors, "optimizer"), _moments(self.optimizer)
        check_tensors(expected, moments, path)
        state: dict[int, Weights] = {}
        for name, value in moments.items():
            index, key = name.split(".")
            # the fused AdamW reads weights and moments as they lie in memory
            value = torch.empty_like(expected[name]).copy_(value)
            state.setdefault(int(index), {})[key] = value
        whole = copy.deepcopy(self.optimizer.state_dict())
        whole["state"] = state
        self.optimizer.load_state_dict(whole)


def _named(prefix: str, tensors: Weights) -> Weights:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _part(tensors: Weights, prefix: str) -> Weights:
    length = len(prefix) + 1
    return {
        name[length:]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")
    }


def _moments(optimizer: torch.optim.Optimizer) -> Weights:
    """Return tensors of the names and shapes that the state of AdamW has."""
    expected = {}
    parameters = [item for group in optimizer.param_groups for item in group["params"]]
    for index, parameter in enumerate(parameters):
        expected[f"{index}.step"] = torch.zeros(())
        expected[f"{index}.exp_avg"] = parameter.detach()
        expected[f"{index}.exp_avg_sq"] = parameter.detach()
    return expected
