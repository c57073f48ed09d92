"""The GPU that a plan is built for."""

from __future__ import annotations

from foveate.runtime.engines.cuda.pycuda_device import name_and_sm
from foveate.runtime.engines.tensorrt.plan_record import Gpu


def gpu(index: int = 0) -> Gpu:
    """Return a GPU's name and compute capability; EngineError says what is missing.

    Makes no context: asking holds none of the GPU's memory.
    """
    return Gpu(*name_and_sm(index))
