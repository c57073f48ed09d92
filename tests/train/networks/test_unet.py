"""The networks: sizes, and a second stage that begins where the first ended."""

from __future__ import annotations

import pytest
import torch

from foveate.train.networks.base import Network
from foveate.train.networks.build import network
from foveate.train.settings.network_choice import UNETS, NetworkChoice
from tests.networks import choice, fit

KINDS = (*UNETS, "resnet18", "efficientnet-b0")


def pair(name: str, outputs: int) -> tuple[Network, Network]:
    """Return a trained stage 1 and a stage 2 that begins with its weights."""
    torch.manual_seed(0)
    first, second = (network(choice(name), inputs, outputs) for inputs in (1, 2))
    fit(first, max(outputs - 1, 1))
    second.start_from(first)
    return first, second


@pytest.mark.parametrize("name", KINDS)
def test_stage_2_begins_with_stage_1s_answer_whatever_the_hint(name: str) -> None:
    first, second = pair(name, 3)
    image = torch.randn(2, 1, 32, 48)
    hint = torch.rand(2, 1, 32, 48)
    with torch.inference_mode():
        expected = first(image)
        found = second.eval()(torch.cat([image, hint], dim=1))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.shape == (2, 3, 32, 48) and expected.std() > 0


@pytest.mark.parametrize("name", KINDS)
def test_the_hint_is_learnt_from_there(name: str) -> None:
    _, second = pair(name, 1)
    second(torch.rand(2, 2, 32, 32)).square().mean().backward()
    first = next(item for item in second.parameters() if item.ndim == 4)
    assert first.grad is not None and bool((first.grad[:, 1] != 0).any())


def test_a_residual_block_adds_and_a_gate_weighs() -> None:
    unet = network(NetworkChoice("unet", 4, 2), 1, 1)
    both = network(NetworkChoice("residual_attention", 4, 2), 1, 1)
    assert len(both.gate) == 2 and len(unet.gate) == 0  # type: ignore[arg-type]
    names = {name for name, _ in both.named_parameters()}
    assert {"encoder.0.projection.0.weight", "gate.1.below.0.weight"} <= names
    with torch.no_grad():
        for gate in both.gate:  # type: ignore[union-attr]
            gate.weight.bias.fill_(-100.0)  # shut: the skips carry nothing
        below, skip = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
        assert float(both.gate[0](skip, below).abs().max()) < 1e-6  # type: ignore[index]
