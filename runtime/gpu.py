"""The GPU that a plan is built for, asked through pycuda."""

from __future__ import annotations

from foveate.runtime.errors import EngineError
from foveate.runtime.plan_record import Gpu


def gpu(index: int = 0) -> Gpu:
    """Return a GPU's name and compute capability; EngineError says what is missing.

    Makes no context: asking holds none of the GPU's memory.
    """
    try:
        from pycuda import driver
    except ImportError as error:
        raise EngineError(
            f"the GPU cannot be asked ({error}): pip install 'foveate[cuda]'"
        ) from None
    try:
        driver.init()
        device = driver.Device(index)
        major, minor = device.compute_capability()
        return Gpu(device.name(), f"sm{major}{minor}")
    except driver.Error as error:
        raise EngineError(f"there is no NVIDIA GPU to use here: {error}") from error
