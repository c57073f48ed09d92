"""What several tests stand on: a tiny data set, a run trained on it in seconds, and its bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from threadpoolctl import threadpool_limits

from foveate.cli import group
from foveate.runtime.cli import progress
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from tests.threshold_bundle import write_threshold_bundle

DEMO = Path(__file__).parents[1] / "benchmarks" / "demo_bundle"

torch.set_num_threads(1)  # the networks here are too small for more, and cores may be shared
threadpool_limits(1)  # numpy's products too

TINY = [
    "image_height=64",
    "image_width=64",
    "width=4",
    "depth=2",
    "batch_size=4",
    "num_workers=0",
    "hint_folds=2",
]


def run(*arguments: object) -> Result:
    """Run a command inside this process; its exit code and output are the command line's own."""
    return CliRunner().invoke(
        group, [str(argument) for argument in arguments], standalone_mode=False
    )


def train(data: Path, out: Path, *more: str) -> Result:
    """Train with settings that take seconds."""
    settings = [item for value in TINY for item in ("--set", value)]
    return run("train", data, "--out", out, *settings, *more)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What engines keep for the next process stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(progress, "PLAIN_S", 1e9)  # slow tests print what fast ones do
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve phantoms of 160 x 160, alternately 8 and 16 bit."""
    folder = tmp_path_factory.mktemp("data")
    list(write_phantoms(folder, PhantomSettings(12, 160, seed=3)))
    return folder


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run long enough for its masks to be the same on every engine."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = train(data, folder, "--set", "num_epochs=3", "--set", "class_names=lesion")
    assert result.exception is None, result.output
    return folder


@pytest.fixture(scope="session")
def bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny.bundle"
    result = run("export", trained, "--out", folder, "--separate")
    assert result.exception is None, result.output
    return folder


@pytest.fixture(scope="session")
def demo_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's bundle, exported anew with a graph in fp16."""
    folder = tmp_path_factory.mktemp("demo") / "demo.bundle"
    result = run("export", DEMO, "--out", folder, "--precision", "fp32,fp16")
    assert result.exception is None, result.output
    return folder


@pytest.fixture(scope="session")
def thresholds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose mask is where the image is bright; an image takes it a millisecond."""
    return write_threshold_bundle(tmp_path_factory.mktemp("thresholds") / "threshold.bundle")
