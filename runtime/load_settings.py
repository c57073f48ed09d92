"""How a bundle is loaded, beside its engine and precision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadSettings:
    """The keywords of ``Cascade.load``, which says what they mean."""

    threads: int = 0
    latency: bool = False
    memory_budget: int = 0
    priority: bool = False
