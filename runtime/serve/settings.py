"""What a server takes, how long it waits, and the reason beside each default."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.runtime.limits import PIXELS


@dataclass(frozen=True)
class Limits:
    """The bounds of a server. Sizes in bytes and pixels, times in seconds."""

    max_bytes: int = 64 << 20
    """Of an upload: an undeflated 16-bit image of 5,700 x 5,700 fits."""
    max_pixels: int = PIXELS
    """Of an image, told from its header: as many as are segmented at a time."""
    queue: int = 64
    """Images that wait beside those at work; one more is answered 429."""
    answer_s: float = 60.0
    """From the whole upload to the answer; who waits longer in the queue is answered 503."""
    upload_s: float = 30.0
    """From the headers to the end of the upload; then 408."""
    idle_s: float = 30.0
    """For the headers of a request, and for fetching an answer; then the connection is ended."""
    batch_wait_s: float = 0.02
    """The first image of a batch waits so long for others, where others are in hand."""
    connections: int = 512
    """Open at a time, fewer where the system allows fewer open files."""
    health_connections: int = 16
    """Beside them, for /health alone; one more is closed at once."""
    health_s: float = 2.0
    """For the headers of a request on one of those."""

    @property
    def held_bytes(self) -> int:
        """All uploads in memory together; one that would pass it is answered 429."""
        return 8 * self.max_bytes

    @property
    def request_s(self) -> float:
        """The longest that a request takes from its headers to its answer."""
        return self.upload_s + self.answer_s + self.idle_s
