"""Masks of a GPU against those of a CPU."""

from __future__ import annotations

import numpy as np

from foveate.runtime.arrays import Array


def disagreement(found: list[Array], wanted: list[Array]) -> float:
    """Return |A xor B| / |A or B| over all the masks together."""
    pairs = list(zip(found, wanted, strict=True))
    either = sum(int(np.count_nonzero((a > 0) | (b > 0))) for a, b in pairs)
    assert either > 1000, "the masks are empty; nothing is compared"
    return sum(int(np.count_nonzero(a != b)) for a, b in pairs) / either
