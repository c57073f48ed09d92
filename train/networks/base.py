"""What every network has in common: its inputs, its step of sizes, and how stage 2 begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """(N, inputs, h, w) -> (N, outputs, h, w) logits; h and w are multiples of ``multiple``."""

    def __init__(self, inputs: int, multiple: int) -> None:
        super().__init__()
        self.inputs, self.multiple = inputs, multiple

    def example(self) -> Tensor:
        """Return the smallest input that no layer of the network is too large for."""
        side = 2 * self.multiple
        return torch.zeros(1, self.inputs, side, side)

    def start_from(self, other: Network) -> None:
        """Take the weights of a trained network with fewer inputs; the inputs it lacks weigh 0.

        Until trained further, the output is the other network's for the inputs they share. Both
        must be the same but for their inputs.
        """
        own, state = self.state_dict(), dict(other.state_dict())
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                state[name] = torch.zeros_like(own[name])
                state[name][:, : other.inputs] = tensor
        self.load_state_dict(state)
