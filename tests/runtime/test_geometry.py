"""The weights that paste, with their zeros and without."""

from __future__ import annotations

import numpy as np
import pytest

from foveate.runtime.geometry import paste_taps, paste_weights

INTERVALS = [(10, 74, 101, 64), (0, 101, 101, 13), (3, 9, 101, 64), (0, 1, 1, 48), (0, 40, 40, 40),
             (2.5, 30.25, 33, 5)]  # fmt: skip


@pytest.mark.parametrize(("start", "stop", "size", "count"), INTERVALS)
def test_taps_are_the_paste_weights_without_their_zeros(
    start: float, stop: float, size: int, count: int
) -> None:
    inside, cells, weights = paste_taps(start, stop, size, count)
    dense = np.zeros((size, count), np.float32)
    pixels = np.arange(size)[inside]
    for tap in range(cells.shape[1]):
        np.add.at(dense, (pixels, cells[:, tap]), weights[:, tap])
    np.testing.assert_allclose(dense, paste_weights(start, stop, size, count), atol=1e-6)
    assert cells.shape[1] <= np.ceil(2 * max(1, count / (stop - start)))
