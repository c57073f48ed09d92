"""How the cores and GPUs of a cluster are dealt out to actors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.runtime.errors import EngineError

CORES_AN_ACTOR = 4
"""Without a GPU an actor has so many cores, where there are as many; a copy of the weights each."""


@dataclass(frozen=True)
class Node:
    """What one machine of a cluster has."""

    cores: int
    gpus: int = 0

    def holds(self, cores: int, gpu: bool) -> int:
        """Return how many actors of so many cores fit."""
        fit = self.cores // cores
        return min(fit, self.gpus) if gpu else fit


@dataclass(frozen=True)
class Share:
    """So many actors, each with ``cores`` of one machine, and with one GPU or none."""

    actors: int
    cores: int
    gpu: bool


def share(nodes: Sequence[Node], gpu: bool, wanted: int, items: int) -> Share:
    """Return how many actors there are and what each has; EngineError when none fits.

    ``wanted`` 0 takes an actor for every GPU, or for every four cores of a machine. There are no
    more than the cluster can hold at once, nor than items.
    """
    most = sum(node.holds(1, gpu) for node in nodes)
    if not most:
        raise EngineError(
            "the Ray cluster has no GPU, which this engine needs; name another --engine"
            if gpu
            else "the Ray cluster has no CPU to give"
        )
    usual = most if gpu else sum(-(-node.cores // CORES_AN_ACTOR) for node in nodes)
    actors = max(1, min(wanted or usual, most, items))
    largest = max(node.cores for node in nodes)
    fitting = (
        cores
        for cores in range(largest, 0, -1)
        if sum(node.holds(cores, gpu) for node in nodes) >= actors
    )
    return Share(actors, next(fitting), gpu)
