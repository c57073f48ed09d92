"""What a graph returns is believed only when it can be masks, boxes and scores of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.runtime.cascade.checks import check_values
from foveate.runtime.errors import BundleError
from tests.drawing import small_spec

SHAPE = (2, 30, 40)


def outputs() -> dict[str, np.ndarray[Any, Any]]:
    """Return sound outputs for two images of 30 x 40 pixels."""
    return {
        "mask": np.ones(SHAPE, np.uint8),
        "box": np.array([[[0, 0, 40, 30]], [[3, 4, 5, 6]]], np.float32),
        "score": np.array([0, 1], np.float32),
        "coarse": np.full((2, 1, 48, 64), 0.5, np.float32),
        "refined": np.full((2, 1, 64, 32), 0.5, np.float32),
    }


def test_sound_outputs_pass() -> None:
    check_values(outputs(), SHAPE, small_spec(), Path("g.onnx"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mask", np.ones((2, 30, 41), np.uint8), "a mask of"),
        ("mask", np.ones(SHAPE, np.int64), "a mask of"),
        ("mask", np.full(SHAPE, 2, np.uint8), "class 2, expected at most 1"),
        ("score", np.array([0, np.nan], np.float32), "the score"),
        ("score", np.array([0.5], np.float32), "the score"),
        ("box", np.array([[[0, 0, 40, 30]], [[3, 4, 41, 6]]], np.float32), "the box"),
        ("box", np.array([[[0, 0, 40, 30]], [[5, 4, 5, 6]]], np.float32), "the box"),
        ("box", np.full((2, 1, 4), np.nan, np.float32), "the box"),
        ("box", np.zeros((2, 0, 4), np.float32), "boxes of"),
        ("coarse", np.full((2, 3, 48, 64), 0.5, np.float32), "coarse without"),
        ("refined", np.full((2, 1, 64, 32), np.nan, np.float32), "refined without"),
        ("refined", np.full((3, 1, 64, 32), 0.5, np.float32), "refined without"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: np.ndarray[Any, Any], words: str) -> None:
    found = {**outputs(), name: value}
    with pytest.raises(BundleError, match=rf"g\.onnx: gives .*{words}"):
        check_values(found, SHAPE, small_spec(), Path("g.onnx"))
