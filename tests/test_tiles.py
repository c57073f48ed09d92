"""Region mode tiles from the training to the masks."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.io.images import image_paths, read_image
from foveate.train.fitting import steps
from foveate.train.runs.run import read_run
from tests.conftest import run, train


@pytest.fixture(scope="module")
def tile_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "EPOCH_BATCHES", 8)
        result = train(data, folder, "--set", "num_epochs=1", "--set", "region_mode=tiles")
    assert result.exception is None, result.output
    assert "Tiles of stage 2: the best" in result.output
    return folder


@pytest.fixture(scope="module")
def tile_bundle(tile_run: Path) -> Path:
    folder = tile_run.parent / "tiles.bundle"
    result = run("export", tile_run, "--out", folder, "--tiles", 3)
    assert result.exception is None, result.output
    return folder


def test_the_run_says_how_the_tiles_were_chosen(tile_run: Path) -> None:
    record = read_run(tile_run)
    region, table = record["spec"]["region"], record["stages"]["stage2"]["tiles"]
    assert region["mode"] == "tiles"
    chosen = [
        row
        for row in table
        if (row["tiles"], row["overlap"]) == (region["tiles"], region["overlap"])
    ]
    assert chosen[0]["dice"] >= max(row["dice"] for row in table) - 0.005


def test_a_bundle_has_as_many_tiles_as_asked_for(tile_run: Path, tmp_path: Path) -> None:
    image = np.zeros((200, 300), np.uint8)
    chosen = read_run(tile_run)["spec"]["region"]
    for more, tiles in (((), chosen["tiles"]), (("--tiles", "all"), 0)):
        result = run("export", tile_run, "--out", tmp_path / "b", *more)
        assert result.exception is None, result.output
        assert open_bundle(tmp_path / "b").spec.region.tiles == tiles
        with Cascade.load(tmp_path / "b") as cascade:
            found = cascade(image, probabilities=True)
        if tiles:
            assert len(found.box_xyxy) == tiles
        else:
            assert found.box_xyxy[:, 2:].max(axis=0).tolist() == [300, 200]
        assert found.refined is not None and len(found.refined) == len(found.box_xyxy)
        shutil.rmtree(tmp_path / "b")


@pytest.mark.parametrize("more", [("--tiles", "0"), ("--tiles", "x"), ("--tiles", "5000")])
def test_a_number_of_tiles_that_is_none_is_refused(
    tile_run: Path, tmp_path: Path, more: tuple[str, str]
) -> None:
    assert run("export", tile_run, "--out", tmp_path / "b", *more).exception is not None
    assert not (tmp_path / "b").exists()


def test_a_box_has_no_tiles(trained: Path, tmp_path: Path) -> None:
    result = run("export", trained, "--out", tmp_path / "b", "--tiles", "all")
    assert isinstance(result.exception, SettingsError)
    assert "this one has box" in str(result.exception)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_folder_is_segmented_in_tiles(
    tile_bundle: Path, data: Path, tmp_path: Path, engine: str
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    out = tmp_path / "masks"
    result = run(
        "segment", tile_bundle, data / "images", "--out", out, "--engine", engine,
        "--probability", "--overlay",
    )  # fmt: skip
    assert result.exception is None, result.output
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 12 and all(len(line["box_xyxy"]) == 3 for line in lines)
    with Cascade.load(tile_bundle, "onnxruntime") as cascade:
        path = image_paths(data / "images")[0]
        expected = cascade(read_image(path)).mask
    mask = cv2.imread(str(out / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
    differing = np.count_nonzero((mask > 0) != (expected > 0))
    assert differing <= 0.001 * max(np.count_nonzero(expected), 1)
    picture = next(out.rglob(f"probability/{path.stem}.png"))
    probable = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    apart = (probable >= 128) != (expected > 0)
    assert not np.any(apart & (np.abs(probable.astype(int) - 128) > 1))


def test_run_and_bundle_are_evaluated_alike(tile_run: Path, data: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    assert run("export", tile_run, "--out", bundle).exception is None
    found = []
    for model in (tile_run, bundle):
        listed = tmp_path / "list.txt"
        listed.write_text("\n".join(read_run(tile_run)["data"]["validation"]))
        out = tmp_path / model.name
        result = run("evaluate", model, data, "--list", listed, "--out", out)
        assert result.exception is None, result.output
        with (out / "images.csv").open(newline="") as file:
            found.append(list(csv.DictReader(file)))
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert theirs[key] == value or float(theirs[key]) == pytest.approx(
                float(value), rel=1e-3
            )


def test_info_and_compare_know_tiles(tile_bundle: Path, data: Path) -> None:
    facts = run("info", tile_bundle).output
    assert "the 3 best tiles at the image's own resolution" in facts
    result = run("benchmark", "compare", tile_bundle, data)
    assert isinstance(result.exception, BundleError) and "looks at tiles" in str(result.exception)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "region_mode=grid"), "Expected one of box, tiles"),
        (("--set", "region_mode=tiles", "--stages", "single"), "single has no stage 2"),
        (("--set", "region_mode=tiles", "--set", "depth=1", "--set", "crop_width=66"), "66"),
    ],
)
def test_settings_that_do_not_go_with_tiles_are_refused(
    data: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    result = train(data, tmp_path / "r", *more)
    assert isinstance(result.exception, SettingsError) and message in str(result.exception)
    assert not (tmp_path / "r").exists()
