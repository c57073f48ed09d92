"""A window in every command that runs a bundle: the mask of the same picture in 16 bits."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.arrays import as_input_type
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import SettingsError
from foveate.runtime.io.images import image_paths, read_image
from foveate.runtime.io.window import Window
from foveate.runtime.segment.run import Request, segment_run
from tests.conftest import run, train
from tests.runtime.io.tiffs import tiff_file
from tests.runtime.serve.served import served
from tests.soak.folders import spot
from tests.threshold_bundle import write_threshold_bundle

WINDOW = Window(-1000, 400)
OTHER = Window(-1000, -700)
"""By which nearly all of the picture is bright."""


@pytest.fixture(scope="module")
def with_window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("window") / "threshold.bundle"
    return write_threshold_bundle(folder, input_type="uint16", window=(WINDOW.low, WINDOW.high))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of signed values with their masks."""
    root = tmp_path_factory.mktemp("signed")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    for seed in (1, 2):
        shade = spot(64, np.random.default_rng(seed)).astype(np.int16)
        (root / "images" / f"{seed}.tif").write_bytes(tiff_file([(shade * 5 - 900, {})], ">"))
        bright = (shade * 5 - 900 > (WINDOW.low + WINDOW.high) / 2) * np.uint8(255)
        cv2.imwrite(str(root / "masks" / f"{seed}.png"), bright)
    return root


def expected(bundle: Path, image: Path, window: Window) -> np.ndarray:
    with Cascade.load(bundle, "onnxruntime", threads=1) as cascade:
        return 255 * cascade(read_image(image, window=window)).mask


def written(out: Path, name: str) -> np.ndarray:
    return cv2.imread(str(out / name), cv2.IMREAD_GRAYSCALE)


def test_segment_by_the_window_of_the_bundle_and_of_the_option(
    with_window: Path, thresholds: Path, signed: Path, tmp_path: Path
) -> None:
    image = signed / "images" / "1.tif"
    cases = [
        (with_window, (), WINDOW),
        (with_window, ("--window", str(OTHER)), OTHER),
        (thresholds, ("--window", str(WINDOW)), WINDOW),
    ]
    for number, (bundle, option, window) in enumerate(cases):
        out = tmp_path / str(number)
        result = run("segment", bundle, signed / "images", "--out", out, *option)
        assert result.return_value == 0, result.output
        mask = expected(bundle, image, window)
        assert 0 < np.count_nonzero(mask) < mask.size
        np.testing.assert_array_equal(written(out, "1.png"), mask)
    result = run("segment", thresholds, signed / "images", "--out", tmp_path / "none")
    assert result.return_value == 1 and "has int16 values from" in result.output


def test_a_resumed_run_keeps_its_window(with_window: Path, signed: Path, tmp_path: Path) -> None:
    given = ("segment", with_window, signed / "images", "--out", tmp_path, "--resume")
    assert run(*given, "--window", str(OTHER)).return_value == 0
    assert "2 done before" in run(*given, "--window", str(OTHER)).output
    with pytest.raises(SettingsError, match="window -1000,-700, now not given"):
        raise run(*given).exception or AssertionError


def test_a_watched_folder_and_a_server(with_window: Path, signed: Path, tmp_path: Path) -> None:
    image = signed / "images" / "2.tif"
    mask = expected(with_window, image, OTHER)
    stop = threading.Event()

    def seen(progress: object) -> None:
        if getattr(progress, "done", 0) == 2:
            stop.set()

    request = Request(
        with_window, (), tmp_path, watch=signed / "images", window=str(OTHER), engine="onnxruntime"
    )
    segment_run(request, seen, stop)
    np.testing.assert_array_equal(written(tmp_path, "2.tif.png"), mask)
    for option, window in (("", WINDOW), (str(OTHER), OTHER)):
        with served(with_window, window=option) as there:
            body = there.ask("/mask", image.read_bytes()).body
        found = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(found, expected(with_window, image, window))


def test_evaluate(with_window: Path, thresholds: Path, signed: Path) -> None:
    for bundle, option in ((with_window, ()), (thresholds, ("--window", str(WINDOW)))):
        result = run("evaluate", bundle, signed, "--json", *option)
        assert result.exception is None, result.output
        figures = json.loads(result.output)["figures"]
        assert {row["dice"]["value"] for row in figures} == {1.0}


def test_a_training_keeps_its_window(signed: Path, tmp_path: Path) -> None:
    """From the setting to the manifest of the bundle, which then needs no option."""
    settings = ("num_epochs=1", "window=-1000,400", "hint_folds=0", "val_fraction=0.5")
    options = [item for value in settings for item in ("--set", value)]
    result = train(signed, tmp_path / "run", "--stages", "single", *options)
    assert result.exception is None, result.output
    result = run("export", tmp_path / "run", "--out", tmp_path / "bundle")
    assert result.exception is None, result.output
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.spec.window == (-1000, 400) and bundle.spec.input_type == "uint16"
    result = run("segment", bundle.path, signed / "images", "--out", tmp_path / "masks")
    assert result.return_value == 0, result.output
    assert run("evaluate", tmp_path / "run", signed, "--json").exception is None


def test_12_bits_stored_in_16_give_the_mask_of_the_image_scaled_to_16(
    bundle: Path, data: Path
) -> None:
    """A z-score takes any factor out; what is left is the rounding of float32."""
    with Cascade.load(bundle, "onnxruntime", threads=1) as cascade:
        assert cascade.spec.input_type == "uint16" and cascade.spec.normalisation.mode == "zscore"
        for path in image_paths(data / "images")[:6]:
            low = as_input_type(read_image(path), "uint16") >> 4
            differing = cascade(low).mask != cascade(low << 4).mask
            assert np.count_nonzero(differing) <= 2
