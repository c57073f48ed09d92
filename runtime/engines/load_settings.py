"""How a bundle is loaded, beside its engine and precision."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from foveate.runtime.errors import SettingsError

MOST_THREADS = 1024


@dataclass(frozen=True)
class LoadSettings:
    """The keywords of ``Cascade.load``, which says what they mean; SettingsError for others."""

    threads: int = 0
    latency: bool = False
    gpu: int = 0

    def __post_init__(self) -> None:
        if not is_whole(self.threads) or not 0 <= self.threads <= MOST_THREADS:
            raise SettingsError(
                f"threads is {self.threads!r}; wanted 0 to {MOST_THREADS}, 0 for all cores"
            )
        if not is_whole(self.gpu) or self.gpu < 0:
            raise SettingsError(f"gpu is {self.gpu!r}; expected the number of a GPU, from 0")


def is_whole(value: object) -> bool:
    """Say whether a value is a whole number, Python's or numpy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
