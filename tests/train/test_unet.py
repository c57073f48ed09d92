"""The U-Net: sizes, and a second stage that begins where the first ended."""

from __future__ import annotations

import torch

from foveate.train.unet import UNet
from tests.drawing import random_network


def test_stage_2_begins_with_stage_1s_answer_whatever_the_hint() -> None:
    first = random_network(1, 3, 0)
    second = UNet(2, 3, 4, 2).eval()
    second.start_from(first)
    image = torch.randn(2, 1, 32, 48)
    hint = torch.rand(2, 1, 32, 48)
    with torch.inference_mode():
        wanted = first(image)
        torch.testing.assert_close(second(torch.cat([image, hint], dim=1)), wanted)
    assert wanted.shape == (2, 3, 32, 48)


def test_the_hint_is_learnt_from_there() -> None:
    second = UNet(2, 1, 4, 2)
    second.start_from(random_network(1, 1, 0))
    loss = second(torch.rand(1, 2, 16, 16)).square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = second.get_parameter("encoder.0.0.weight").grad
    assert gradient is not None and bool((gradient[:, 1] != 0).any())
