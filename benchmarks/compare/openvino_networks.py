"""The networks as OpenVINO models on the CPU, in float32 or bfloat16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveate.benchmarks.compare.handwritten_cascade import Network
from foveate.runtime.engines.openvino_import import openvino
from foveate.runtime.errors import EngineError

FloatArray = npt.NDArray[np.float32]


def openvino_network(graph: bytes, threads: int, precision: str, shape: list[int]) -> Network:
    """Return one stage's ONNX, for inputs of one shape, as a function of numpy arrays.

    ``precision`` is f32 or bf16. EngineError where the processor has no bf16 arithmetic.
    """
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise EngineError("this processor has no bf16 arithmetic")
    model = core.read_model(graph)
    model.reshape(shape)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        },
    )
    request = compiled.create_infer_request()

    def network(values: FloatArray) -> FloatArray:
        found = request.infer([np.ascontiguousarray(values)], share_inputs=True)
        return np.array(found[0], np.float32)

    return network
