"""Read by each Python of a rehearsal: FOVEATE_REHEARSED_PROVIDER puts a stand-in engine in."""

from __future__ import annotations

import os

if os.environ.get("FOVEATE_REHEARSED_PROVIDER"):
    from foveate.runtime.engines.registry import ENGINES

    ENGINES["onnxruntime-cuda"] = ("onnxruntime_cuda_standin", "gpu")
