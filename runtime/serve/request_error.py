"""The error of a request that gets a reason instead of a mask."""

from __future__ import annotations


class RequestError(Exception):
    """``status`` is HTTP's, ``why`` labels the metrics, the text is one line.

    ``retry_after_s``: whole seconds after which to try again, 0 if retrying is pointless.
    """

    def __init__(self, status: int, why: str, reason: str, retry_after_s: int = 0) -> None:
        super().__init__(reason)
        self.status, self.why, self.retry_after_s = status, why, retry_after_s
