"""A request that is answered with a reason in place of a mask."""

from __future__ import annotations


class Refusal(Exception):
    """``status`` is HTTP's, ``why`` names the kind in the metrics, the text is one line.

    ``retry_after_s``: whole seconds after which it is worth another try, 0 where none is.
    """

    def __init__(self, status: int, why: str, reason: str, retry_after_s: int = 0) -> None:
        super().__init__(reason)
        self.status, self.why, self.retry_after_s = status, why, retry_after_s
