"""What is closed when its ``with`` block ends."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

Own = TypeVar("Own", bound="Closing")


class Closing:
    """A context manager that gives itself and ends in ``close``, whatever was raised."""

    def close(self) -> None:
        """Free what is held; calling it again does nothing."""
        raise NotImplementedError

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
