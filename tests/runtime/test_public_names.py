"""Test that the public names of ``foveate.runtime`` are there, shown, and loaded on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import foveate.runtime as runtime

NAMES = ["Cascade", "Decision", "FoveateError", "Result", "read_image", "write_mask"]


def test_every_public_name_is_there_and_shown() -> None:
    assert runtime.__all__ == NAMES and dir(runtime) == NAMES
    for name in NAMES:
        assert getattr(runtime, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = runtime.nothing


def test_importing_the_package_loads_no_numpy() -> None:
    code = "import sys, foveate.runtime; dir(foveate.runtime); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_mask_is_written_and_read(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    runtime.write_mask(tmp_path / "mask.png", mask, 2)
    np.testing.assert_array_equal(runtime.read_image(tmp_path / "mask.png"), 255 * mask)
