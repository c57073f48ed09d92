"""Life of objects that hold resources: closed by a ``with`` block, used by one process."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TypeVar

from foveate.runtime.errors import EngineError

Self = TypeVar("Self", bound="Closeable")
CLOSED = "this engine has been closed; load the bundle again"


class Closeable:
    """Mixin: context manager that calls close() on exit."""

    def close(self) -> None:
        """Free what is held; calling it again does nothing."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ForkGuard:
    """Refuse use in a fork of the process that created this.

    A forked child has the memory of an engine without its threads: OpenVINO then blocks forever,
    in a run as well as in close.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def in_home_process(self) -> bool:
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise EngineError in any other process."""
        if not self.in_home_process:
            raise EngineError(
                f"this cascade was loaded by process {self._pid}, and this is {os.getpid()}, a "
                "fork of it: load the bundle after the fork, or start processes by spawn"
            )
