"""Images of several channels, (H, W, C), in every way that a cascade takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from foveate.export.folding import folded
from foveate.runtime import Cascade
from foveate.runtime.agreement import Disagreement, compare_masks, dice
from foveate.runtime.errors import ImageError
from tests.drawing import ellipse, in_channels, random_network, small_spec
from tests.threshold_bundle import write_bundle, write_threshold_bundle

SIZES = [(64, 64), (64, 200), (150, 131), (64, 64)]
Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module", params=["rgb uint8", "5 uint16"])
def colours(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    channels, input_type = request.param.split()
    folder = tmp_path_factory.mktemp("colours") / "colours.bundle"
    return write_threshold_bundle(folder, input_type=input_type, images=channels)


@pytest.fixture(params=["onnxruntime", "openvino"])
def cascade(request: pytest.FixtureRequest, colours: Path) -> Iterator[Cascade]:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    with Cascade.load(colours, request.param, threads=1) as loaded:
        yield loaded


def drawn(cascade: Cascade) -> list[Image]:
    """Return images of 8 bits with an ellipse in the last channel and noise in the others."""
    channels = cascade.spec.channels
    last = cascade.spec.input_channels - 1
    return [in_channels(ellipse(*size), channels, last) * np.uint8(255) for size in SIZES]


def test_every_call_finds_what_the_channel_that_counts_has(cascade: Cascade) -> None:
    images = drawn(cascade)
    expected = [cascade(image).mask for image in images]
    for mask, size in zip(expected, SIZES, strict=True):
        assert mask.shape == size and dice(mask, ellipse(*size), 1) > 0.97
    out = torch.zeros(*SIZES[2], dtype=torch.uint8)
    assert cascade(images[2], out=out).mask is out  # type: ignore[comparison-overlap]
    np.testing.assert_array_equal(out.numpy(), expected[2])
    twins = [image.astype(np.uint16) * np.uint16(257) for image in images]
    turned = np.ascontiguousarray(images[1].swapaxes(0, 1)).swapaxes(0, 1)  # of other strides
    np.testing.assert_array_equal(cascade(turned).mask, expected[1])
    for found in (
        [cascade(torch.from_numpy(image)) for image in images],
        [cascade(image) for image in twins],
        [future.result() for future in [cascade.submit(image) for image in images]],
        cascade.batch(images),
        list(cascade.stream(images)),
    ):
        for result, mask in zip(found, expected, strict=True):
            np.testing.assert_array_equal(result.mask, mask)


def test_images_of_other_channels_are_refused(cascade: Cascade) -> None:
    count = cascade.spec.input_channels
    for shape in ((40, 40), (40, 40, 1), (40, 40, count + 1), (1, 40, 40, count), (0, 4, count)):
        image, out = np.zeros(shape, np.uint8), np.zeros(shape[:2], np.uint8)
        for use in (
            cascade,
            lambda image: cascade(image, out=out),  # noqa: B023
            lambda image: cascade.submit(image).result(),
            lambda image: cascade.batch([image, image]),
            lambda image: list(cascade.stream([image])),
        ):
            with pytest.raises(ImageError, match=rf"expected a \(H, W, {count}\) array"):
                use(image)


def test_a_grey_cascade_refuses_colours(thresholds: Path) -> None:
    with Cascade.load(thresholds, "onnxruntime", threads=1) as cascade:
        with pytest.raises(ImageError, match=r"\(40, 40, 3\); expected a \(H, W\) array"):
            cascade(np.zeros((40, 40, 3), np.uint8))


def test_warm_up_takes_sizes_without_channels(cascade: Cascade) -> None:
    assert cascade.warm_up([(64, 64), (2, 40, 50)]) == []
    if cascade.engine.name == "openvino":
        tail = {3: (3,), 5: (5, 2)}[cascade.spec.input_channels]
        fixed = sorted(cascade.engine._fixed)  # type: ignore[attr-defined]
        assert fixed == [(1, 64, 64, *tail), (2, 40, 50, *tail)]
    (refused,) = cascade.warm_up([(40_000, 40_000)])
    assert "elements" in refused.reason


@pytest.mark.parametrize(
    ("input_type", "channels", "mode"),
    [("uint8", "rgb", "imagenet"), ("uint16", "rgb", "zscore"), ("uint8", "4", "zscore")],
)
def test_engines_give_the_same_masks(
    tmp_path: Path, input_type: str, channels: str, mode: str
) -> None:
    spec = small_spec(input_type, mode=mode, channels=channels)
    count, rng = spec.input_channels, np.random.default_rng(4)
    stages = [folded(random_network(inputs, 1, inputs)) for inputs in (count, count + 1)]
    write_bundle(tmp_path, spec, {"name": "unet", "width": 4, "depth": 2}, *stages)
    high = np.iinfo(input_type).max
    small = [rng.integers(0, high, (h // 4, w // 4, count), input_type) for h, w in SIZES]
    images = [image.repeat(4, axis=0).repeat(4, axis=1) for image in small]
    pytest.importorskip("openvino")
    total = Disagreement()
    with (
        Cascade.load(tmp_path, "onnxruntime", "fp32", threads=1) as one,
        Cascade.load(tmp_path, "openvino", "fp32", threads=1) as other,
    ):
        for _ in range(2):
            found = zip(one.batch(images), other.batch(images), strict=True)
            for number, (mine, theirs) in enumerate(found):
                assert mine.mask.any()
                total.add(compare_masks(str(number), theirs.mask, mine.mask, False, None))
            other.warm_up([SIZES[0], (2, *SIZES[0])])
    assert total.value <= 0.001
