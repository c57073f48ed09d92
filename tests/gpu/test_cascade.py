"""The demo bundle on a GPU, the whole way: build, parity, auto, streams, and flat memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foveate.runtime.agreement import BOUNDS, Disagreement, compare_masks
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice
from foveate.train.data.phantom import PhantomSettings, phantoms
from tests.conftest import run
from tests.gpu.conftest import DEMO, SHAPES
from tests.gpu.rehearsals import Foreign

pytest.importorskip("pycuda")
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    sizes = (256, 333, 256, 512, 200, 256)
    return [next(iter(phantoms(PhantomSettings(1, n, seed=n, bits=16)))).image for n in sizes]


@pytest.fixture(scope="module")
def reference() -> Iterator[Cascade]:
    with Cascade.load(DEMO, "onnxruntime") as cascade:
        yield cascade


@pytest.mark.usefixtures("plans")
@pytest.mark.parametrize(
    ("precision", "latency"), [("fp32", False), ("tf32", False), ("fp16", False), ("fp16", True)]
)
def test_masks_are_the_same_however_they_are_asked_for(
    images: list[Pixels],
    reference: Cascade,
    precision: str,
    latency: bool,
    request: pytest.FixtureRequest,
) -> None:
    total, bundle = Disagreement(), DEMO
    if precision == "fp16":
        bundle = request.getfixturevalue("demo_fp16")
        done = run("build", bundle, "--precision", precision, *SHAPES)  # a plan there is kept
        assert done.exception is None, done.exception
    with Cascade.load(bundle, "tensorrt", precision, latency=latency) as cascade:
        called = [cascade(image) for image in images]
        streamed = [result.mask.copy() for result in cascade.stream(images, copy=False)]
        batched = cascade.batch(images)
    for index, image in enumerate(images):
        mask = called[index].mask
        np.testing.assert_array_equal(streamed[index], mask)
        total.add(compare_masks(str(index), mask, reference(image).mask, False))
        together = compare_masks(str(index), batched[index].mask, mask, False)
        assert together.disagreement <= BOUNDS[precision][0]
    print(precision, total.value, called[-1].timings)
    assert total.held(precision) and sum(pair.union for pair in total.pairs) > 1000


@pytest.mark.usefixtures("plans")
def test_auto_takes_what_parity_has_measured(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    assert "auto: tensorrt" not in run("info", DEMO).output
    done = run("benchmark", "parity", DEMO, "--engines", "tensorrt", "--size", "256,512")
    assert done.return_value == 0, done.output
    assert run("phantom", tmp_path / "data", "--count", 6, "--size", 256).exception is None
    images = tmp_path / "data" / "images"
    summary = json.loads(run("segment", DEMO, images, "--out", tmp_path / "m", "--json").output)
    print(summary)
    assert summary["engine"] == "tensorrt" and summary["written"] == 6


@pytest.mark.usefixtures("plans")
def test_images_and_masks_stay_on_the_gpu(images: list[Pixels]) -> None:
    pytest.importorskip("cuda.bindings.driver")
    with Cascade.load(DEMO, "tensorrt", "fp32") as cascade:
        device = CudaDevice()
        for image in images:
            mask = cascade(image).mask
            with device.current():
                stream, back = device.stream(), np.zeros(mask.nbytes, np.uint8)
                given = device.device_buffer(image.nbytes)
                out = device.device_buffer(mask.nbytes)
                stream.to_device(given.address, image.view(np.uint8).ravel())
            result = cascade(
                Foreign(given, image.shape, "<u2", stream),
                out=Foreign(out, mask.shape, "|u1", stream),
            )
            with device.current():
                stream.to_host(back, out.address)
                stream.wait()
                np.testing.assert_array_equal(back.reshape(mask.shape), mask)
            assert result.score == cascade.submit(image).result().score


@pytest.mark.usefixtures("plans")
def test_memory_is_flat_over_a_stream(images: list[Pixels]) -> None:
    device, free = CudaDevice(), []
    with Cascade.load(DEMO, "tensorrt", "fp32") as cascade:
        for index, _ in enumerate(cascade.stream(images[n % len(images)] for n in range(1000))):
            if index % 250 == 249:
                with device.current():
                    free.append(device.memory().free_bytes)
    print("MiB free:", [value >> 20 for value in free])
    assert free[-1] >= free[1] - (8 << 20)
