"""ONNX Runtime's CUDA provider on a GPU: the demo bundle's masks against those of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.arrays import Array
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.onnxruntime_cuda import (
    OnnxRuntimeCudaEngine,
    engine_from_onnx,
    has_provider,
    host_memory,
)
from foveate.runtime.errors import GraphError
from tests.gpu.conftest import DEMO, OUTPUTS, disagreement

NOT_HERE = "this ONNX Runtime has no CUDA provider"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_provider(), reason=NOT_HERE)]


@pytest.fixture(scope="module")
def engine() -> Iterator[OnnxRuntimeCudaEngine]:
    with engine_from_onnx(open_bundle(DEMO).graph("fp32")) as made:
        yield made


def test_the_provider_is_cuda(engine: OnnxRuntimeCudaEngine) -> None:
    print(engine.providers, host_memory())
    assert engine.providers[0] == "CUDAExecutionProvider"


def test_the_masks_are_those_of_the_cpu(
    engine: OnnxRuntimeCudaEngine, images: list[Array], expected: list[dict[str, Array]]
) -> None:
    for _ in range(2):  # the memory of the first run, used again
        found = [engine.run({"image": image}, OUTPUTS) for image in images]
        assert disagreement([a["mask"] for a in found], [b["mask"] for b in expected]) <= 0.001
    for got, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(got["score"], reference["score"], atol=0.01)
        np.testing.assert_allclose(got["coarse"], reference["coarse"], atol=1e-3)  # TF32: more


def test_threads_get_their_own_masks(
    engine: OnnxRuntimeCudaEngine, images: list[Array], expected: list[dict[str, Array]]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: engine.run({"image": image}, ["mask"]), images * 5))
    assert disagreement([a["mask"] for a in found], [b["mask"] for b in expected] * 5) <= 0.001


def test_fp16_runs(images: list[Array], expected: list[dict[str, Array]], demo_fp16: Path) -> None:
    with Cascade.load(demo_fp16, "onnxruntime-cuda", "fp16") as cascade:
        found = [cascade.engine.run({"image": image}, ["mask"])["mask"] for image in images]
    print("fp16 disagreement", disagreement(found, [b["mask"] for b in expected]))
    assert disagreement(found, [b["mask"] for b in expected]) <= 0.01


def test_a_damaged_graph_is_the_graph_s_fault() -> None:
    with pytest.raises(GraphError, match="refuses the graph"):
        engine_from_onnx(open_bundle(DEMO).graph("fp32")[:1000])
