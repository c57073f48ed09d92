"""How large a call may be, whichever engine runs it."""

from __future__ import annotations

from foveate.runtime.spec import CascadeSpec

MAX_ELEMENTS = 2**31
"""No tensor of a call may have more elements than this; engines index with 32 bits."""


def largest_channels(spec: CascadeSpec, width: int) -> int:
    """Return the channels of the widest tensor in the graph that is as large as the image.

    ``width`` is the network's. Two for the bytes of a 16-bit image.
    """
    return max(spec.channels, 2, 2 * width if spec.pad_multiple else 1)
