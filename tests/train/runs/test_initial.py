"""Fine-tuning begins with the other run's weights, and with nothing that would flatter it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.errors import DataError, SettingsError
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.runs.run import load_tensors, read_run
from tests.conftest import run, train


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of two classes."""
    folder = tmp_path_factory.mktemp("others")
    list(write_phantoms(folder, PhantomSettings(8, 128, seed=9, classes=2)))
    return folder


@pytest.mark.usefixtures("short_epochs")
def test_a_run_begins_with_another_runs_weights(
    trained: Path, others: Path, tmp_path: Path
) -> None:
    still = ["--set", "num_epochs=1", "--set", "learning_rate=1e-7", "--set", "hint_folds=0"]
    init = ["--init", str(trained)]
    result = train(others, tmp_path / "r", "--stages", "1", *init, *still)
    assert result.exception is None, result.exception
    without = train(others, tmp_path / "r", "--stages", "2", *still)
    assert isinstance(without.exception, SettingsError) and "give it ag" in str(without.exception)
    assert train(others, tmp_path / "r", "--stages", "2", *init, *still).exception is None
    assert "but for its last layer: the classes differ" in result.output
    for name in ("stage1", "stage2"):
        old, new = (load_tensors(run / f"{name}.safetensors") for run in (trained, tmp_path / "r"))
        for key in ("encoder.0.0.weight", "decoder.0.3.weight"):
            torch.testing.assert_close(new[key], old[key], atol=1e-4, rtol=0)
        assert new["head.weight"].shape[0] == 3
    assert read_run(tmp_path / "r")["init"]["name"] == trained.name
    made = run("export", tmp_path / "r", "--out", tmp_path / "b")
    assert made.exception is None, made.exception
    before = read_run(trained)["data"]
    stated = open_bundle(tmp_path / "b").manifest["data"]["initial"]
    assert stated == [{key: before[key] for key in ("name", "licence", "fingerprint")}]
    said = run("info", tmp_path / "b").output
    assert f"began with a run on {before['name']}, licence: not stated" in " ".join(said.split())


def test_a_run_on_the_same_images_is_refused(data: Path, trained: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "r", "--init", str(trained))
    assert isinstance(result.exception, DataError) and "these same images" in str(result.exception)
    assert not (tmp_path / "r").exists()  # so the corrected command may write there


def test_other_networks_are_refused(others: Path, trained: Path, tmp_path: Path) -> None:
    changed = "unet, width 4, depth 2 -> unet, width 8, depth 2"
    for name, said in (("width", f"stage 1 {changed}; stage 2 "), ("stage2_width", "stage 2 ")):
        result = train(others, tmp_path / name, "--init", str(trained), "--set", f"{name}=8")
        assert isinstance(result.exception, SettingsError)
        assert f"has other networks: {said}{changed}. Set" in str(result.exception)
