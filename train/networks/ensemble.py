"""Several networks as one: the mean of their logits, as nnU-Net averages folds and mirrors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from foveate.train.networks.base import Network


class Ensemble(Network):
    """Mean logits of networks with the same inputs: (N, inputs, h, w) -> (N, outputs, h, w).

    With ``flips`` each also sees the input mirrored horizontally; its answer is mirrored back.
    """

    def __init__(self, members: Sequence[Network], flips: bool) -> None:
        super().__init__(members[0].inputs, members[0].multiple)
        self.members, self.flips = nn.ModuleList(members), flips

    def forward(self, x: Tensor) -> Tensor:
        total, passes = self._sum(x), len(self.members)
        if self.flips:
            total, passes = total + self._sum(x.flip(3)).flip(3), 2 * passes
        return total * (1 / passes)

    def _sum(self, x: Tensor) -> Tensor:
        first, *others = self.members
        total: Tensor = first(x)
        for member in others:
            total = total + member(x)
        return total


def averaged(members: Sequence[nn.Module | None], flips: bool) -> nn.Module | None:
    """Return one network for one stage of several cascades; None where they have no such stage."""
    if members[0] is None or (len(members) == 1 and not flips):
        return members[0]
    return Ensemble([member for member in members if isinstance(member, Network)], flips)
