"""The state a training goes on from: it comes back as it was, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foveate.runtime.errors import BundleError
from foveate.train.networks.unet import UNet
from foveate.train.runs.checkpoint import AVERAGE, Checkpoint


def stepped(steps: int) -> Checkpoint:
    """Return a tiny network's state after some steps of AdamW."""
    torch.manual_seed(0)
    network = UNet(1, 1, 4, 2)
    checkpoint = Checkpoint(network, torch.optim.AdamW(network.parameters()))
    for _ in range(steps):
        network(torch.randn(2, 1, 16, 16)).square().sum().backward()
        checkpoint.optimizer.step()
        checkpoint.step()
    checkpoint.best = checkpoint.averaged()
    return checkpoint


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    before, after = stepped(3), stepped(0)
    before.save(tmp_path / "a")
    after.load(tmp_path / "a")
    after.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for checkpoint in (before, after):
        torch.manual_seed(1)
        checkpoint.optimizer.zero_grad()
        checkpoint.network(torch.randn(2, 1, 16, 16)).square().sum().backward()
        checkpoint.optimizer.step()
        checkpoint.step()
    for one, other in zip(before.averaged().values(), after.averaged().values(), strict=True):
        assert torch.equal(one, other)


def test_the_average_lies_between_the_weights_that_were() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    checkpoint = Checkpoint(network, torch.optim.AdamW(network.parameters()))
    for value in (0.0, 1.0, 1.0):
        torch.nn.init.constant_(network.weight, value)
        checkpoint.step()
    assert float(checkpoint.averaged()["weight"]) == pytest.approx(1 - (2 / 11) * (3 / 12))
    for _ in range(5000):
        checkpoint.step()
    torch.nn.init.constant_(network.weight, 2.0)
    checkpoint.step()
    assert float(checkpoint.averaged()["weight"]) == pytest.approx(2 - AVERAGE, abs=1e-4)


@pytest.mark.parametrize("damage", ["cut", "renamed", "shape", "nan", "missing", "gone"])
def test_a_damaged_state_is_named(tmp_path: Path, damage: str) -> None:
    checkpoint, path = stepped(1), tmp_path / "last-1.safetensors"
    checkpoint.save(path)
    tensors = load_file(path)
    if damage == "renamed":
        tensors["optimizer.one.two.three"] = tensors.pop("optimizer.0.step")
    elif damage == "shape":
        tensors["optimizer.0.exp_avg"] = torch.zeros(3)
    elif damage == "nan":
        tensors["average.head.bias"].fill_(float("nan"))
    elif damage == "missing":
        del tensors["optimizer.0.exp_avg_sq"]
    save_file(tensors, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "gone":
        path.unlink()
    with pytest.raises(BundleError, match=r"last-1\.safetensors: "):
        checkpoint.load(path)
