"""Rehearsals of the CUDA device with real pycuda over a stand-in for the driver.

They run where pycuda is installed and FOVEATE_CUDA_STANDIN names a folder with a stand-in
``libcuda.so.1``. They show that our code follows pycuda's rules, and nothing about a GPU.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foveate.runtime.engines.cuda.pycuda_device import CudaDevice
from foveate.runtime.errors import EngineError
from tests.runtime.engines.cuda.cuda_rehearsals import DISCOVERY, REHEARSALS

ROOT = Path(__file__).parents[4]
STANDIN = "FOVEATE_CUDA_STANDIN"


@pytest.fixture
def standin() -> Path:
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("pycuda is not installed")
    if STANDIN not in os.environ:
        pytest.skip(f"{STANDIN} is not set")
    return Path(os.environ[STANDIN])


@pytest.mark.parametrize("name", REHEARSALS)
def test_rehearsal(name: str, standin: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.runtime.engines.cuda.cuda_rehearsals", name],
        env={**os.environ, "LD_LIBRARY_PATH": str(standin)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if DISCOVERY not in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_without_pycuda_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(EngineError, match=r"pip install 'foveate\[cuda\]'.*docs/install.md"):
        CudaDevice()
