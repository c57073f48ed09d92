"""The limits of a server, each with the reason for its default."""

from __future__ import annotations

from dataclasses import dataclass

from foveate.runtime.limits import PIXELS


@dataclass(frozen=True)
class Limits:
    """The limits of a server. Sizes in bytes and pixels, times in seconds."""

    max_bytes: int = 64 << 20
    """Of an upload: an uncompressed 16-bit image of 5,700 x 5,700 fits."""
    max_pixels: int = PIXELS
    """Of an image, read from its header: as many as are segmented at a time."""
    queue: int = 64
    """Images that may wait in addition to those being segmented; one more gets a 429."""
    response_s: float = 60.0
    """From the complete upload to the response; a longer wait gets a 503."""
    upload_s: float = 30.0
    """From the headers to the end of the upload; then 408."""
    idle_s: float = 30.0
    """For the headers of a request and for fetching a response; then the connection is closed."""
    batch_wait_s: float = 0.02
    """How long the first image of a batch waits for others, if others are in flight."""
    connections: int = 512
    """Open at a time; fewer if the system allows fewer open files."""
    health_connections: int = 16
    """In addition to those, for /health only; one more is closed at once."""
    health_s: float = 2.0
    """For the headers of a request on one of those."""

    @property
    def held_bytes(self) -> int:
        """All uploads in memory together; one that exceeds it gets a 429."""
        return 8 * self.max_bytes

    @property
    def request_s(self) -> float:
        """The longest a request may take from its headers to its response."""
        return self.upload_s + self.response_s + self.idle_s
