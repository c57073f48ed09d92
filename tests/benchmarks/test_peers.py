"""The peers run the same cascade: the same box rule, the same logits, hardly another mask."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foveate.benchmarks.compare.catalogue import Peer, WholePeer, cpu_peers, gpu_peers
from foveate.benchmarks.compare.handwritten_cascade import HandwrittenCascade, find_box
from foveate.benchmarks.compare.networks import Stages, open_stages, stage1_graph
from foveate.benchmarks.compare.onnxruntime_networks import CUDA, has_cuda
from foveate.benchmarks.compare.torch_networks import TorchWay, torch_network
from foveate.benchmarks.compare.torch_whole import whole_cascade
from foveate.benchmarks.measure.baseline import BaselineSession
from foveate.runtime.agreement import dice
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.hardware import processor
from foveate.runtime.errors import EngineError
from foveate.runtime.spec import Region, Size
from foveate.train.reference import geometry
from tests.drawing import ODD_SIZES, SEPARATE_SIZES, ellipse, small_spec, threshold_spec


@pytest.fixture(scope="module")
def stages(bundle: Path) -> Stages:
    return open_stages(open_bundle(bundle))


@pytest.fixture(scope="module")
def by_key(stages: Stages) -> dict[str, Peer]:
    return {peer.key: peer for peer in cpu_peers(stages, 1)}


@pytest.mark.parametrize("seed", range(40))
def test_the_box_by_hand_is_the_graphs(seed: int) -> None:
    """Blobs, stray cells, nothing at all; wide, high and tiny images; margins and openings."""
    rng = np.random.default_rng(seed)
    spec = small_spec()
    assert spec.stage2 is not None
    region = Region("box", 0.5, float(rng.uniform(0, 0.4)), 32, 32, int(rng.integers(1, 5)))
    spec = replace(spec, region=region, stage2=Size(32, int(rng.choice([32, 64]))))
    assert spec.stage2 is not None
    cells = np.zeros((spec.stage1.height, spec.stage1.width), np.float32)
    for _ in range(int(rng.integers(0, 4))):
        y, x, side = rng.integers(0, 40, 3)
        cells[y : y + side // 4 + 1, x : x + side // 3 + 1] = rng.uniform(0.3, 1)
    height, width = (int(side) for side in rng.integers(20, 900, 2))
    wanted = geometry.find_box(torch.from_numpy(cells)[None], height, width, region, spec.stage2)
    found = find_box(cells, (height, width), spec)
    assert np.abs(wanted[0].numpy() - found).max() <= 1  # a tie of rounding may move it by one


@pytest.mark.parametrize(("height", "width"), [*SEPARATE_SIZES, *ODD_SIZES])
def test_the_glue_returns_the_shape_that_was_drawn(height: int, width: int) -> None:
    spec = threshold_spec()
    shape = ellipse(height, width)
    if not shape.any():
        shape[:, : width // 2] = 1

    def threshold(values: np.ndarray) -> np.ndarray:
        return 40 * (values[:, :1] - (0.5 - spec.normalisation.mean) / spec.normalisation.std)

    mask, box = HandwrittenCascade(spec, threshold, threshold)(shape * np.uint8(255))
    assert mask.shape == shape.shape and mask.dtype == np.uint8
    if min(height, width) > 30:
        assert dice(mask, shape, 1) >= 0.99
    assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height


def test_a_batch_of_the_glue_is_its_images_one_by_one() -> None:
    shapes = [ellipse(300, 200), ellipse(90, 512), 1 - ellipse(300, 200)]
    images = [shape * np.uint8(200) + np.uint8(30) for shape in shapes]
    glue = HandwrittenCascade(threshold_spec(), *[lambda values: 9 * values[:, :1] - 4] * 2)
    found = glue.batch(images)
    assert found[0][0].any()
    for (mask, box), image in zip(found, images, strict=True):
        alone, alone_box = glue(image)
        np.testing.assert_array_equal(mask, alone)
        np.testing.assert_array_equal(box, alone_box)


@pytest.mark.parametrize(
    ("key", "tolerance"),
    [
        ("a", 1e-4), ("c", 1e-4), ("d-fp32", 1e-3), ("d-bf16", 0.2),
        pytest.param("b-fp32", 1e-3, marks=pytest.mark.slow),
        pytest.param("b-bf16", 0.2, marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_every_engine_gives_the_networks_logits(
    stages: Stages, by_key: dict[str, Peer], stage: str, key: str, tolerance: float
) -> None:
    if "bf16" in key and processor().lacks_bf16:
        pytest.skip("needs bfloat16 arithmetic")
    values = np.random.default_rng(0).standard_normal(stages.shape(stage), np.float32)
    module = stages.cascade.stage1 if stage == "stage1" else stages.cascade.stage2
    assert module is not None
    with torch.no_grad():
        wanted = module(torch.from_numpy(values)).numpy()
    found = by_key[key].network(stage)(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


def test_the_whole_cascade_in_pytorch_has_the_masks_of_the_reference(stages: Stages) -> None:
    """On the CPU; what moves to a GPU is the same function."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (120, 150), np.uint8) for _ in range(2)]
    wanted = [stages.cascade.segment(image) for image in images]
    batch = whole_cascade(copy.deepcopy(stages.cascade), TorchWay(), images)
    for (mask, box), (mask_wanted, box_wanted) in zip(batch(images), wanted, strict=True):
        np.testing.assert_array_equal(mask, mask_wanted)
        np.testing.assert_array_equal(box, box_wanted[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
def test_peers_on_a_gpu_say_that_there_is_none(stages: Stages) -> None:
    peers = gpu_peers(stages, 1)
    assert [peer.key for peer in peers if isinstance(peer, WholePeer)] == [
        "gpu-torch-fp32", "gpu-torch-fp16", "gpu-torch-compiled",
    ]  # fmt: skip
    for peer in peers:
        if isinstance(peer, WholePeer):
            with pytest.raises(EngineError, match="sees no CUDA device"):
                peer.open(stages, [np.zeros((64, 64), np.uint8)])


def test_a_module_that_cannot_run_is_said_by_name(stages: Stages) -> None:
    with pytest.raises(EngineError, match="PyTorch cannot run it here"):
        torch_network(torch.nn.Conv2d(3, 1, 1), TorchWay(), stages.shape("stage1"))


def test_stage_1_alone_is_the_cascades_coarse(stages: Stages, bundle: Path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (130, 210), dtype=np.uint8)
    with Cascade.load(bundle) as cascade:
        pixels = image.astype(np.uint16) * 257 if stages.spec.input_type == "uint16" else image
        wanted = cascade(pixels, probabilities=True).coarse
    feed = (
        pixels[None] if pixels.dtype == np.uint8 else pixels.view(np.uint8).reshape(1, 130, 210, 2)
    )
    (found,) = BaselineSession(stage1_graph(stages), 1).run(feed, ("coarse",))
    assert wanted is not None
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


@pytest.mark.skipif(has_cuda(), reason="this ONNX Runtime has CUDA")
def test_a_session_that_went_to_another_provider_is_refused(stages: Stages) -> None:
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(EngineError, match="took CPUExecutionProvider; expected CUDAExecution"),
    ):
        BaselineSession(stages.graphs["stage1"], 1, CUDA)
