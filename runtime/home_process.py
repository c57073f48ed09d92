"""The process that loaded a cascade, and the only one that may use it."""

from __future__ import annotations

import os

from foveate.runtime.errors import EngineError


class HomeProcess:
    """The process in which this was made.

    A child made by ``fork`` has the memory of an engine without its threads: OpenVINO then waits
    for ever, on a run as on its end.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise EngineError in any other process."""
        if not self.here:
            raise EngineError(
                f"this cascade was loaded by process {self._pid}, and this is {os.getpid()}, a "
                "fork of it: load the bundle after the fork, or start processes by spawn"
            )
