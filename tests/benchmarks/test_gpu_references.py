"""References carried to a GPU: what is written, that it is read back, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from foveate.benchmarks.gpu.references import INDEX, judged, read_references
from foveate.benchmarks.gpu_references import main
from foveate.benchmarks.parity import cascade_segment
from foveate.runtime.cascade import Cascade
from foveate.runtime.errors import BundleError, DataError

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "benchmarks" / "demo_bundle"


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two large phantoms with the demo bundle, and two of a data set with an example's bundle."""
    folder = tmp_path_factory.mktemp("references") / "r"
    stems = folder.with_name("list.txt")
    names = sorted(path.stem for path in (data / "images").iterdir())
    stems.write_text("\n".join(names[:5]))
    part = ["--set", "small", "examples/bsdata", data, stems, 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        arguments = [folder, "--phantoms", DEMO, 2, *part]
        done = CliRunner().invoke(main, [str(item) for item in arguments])
    assert done.exit_code == 0, done.output
    assert "MiB in all" in done.output
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r"))


def test_onnx_runtime_has_the_masks_that_were_carried(folder: Path) -> None:
    phantoms, small = read_references(folder, ROOT)
    assert (phantoms.name, phantoms.sizes) == ("phantoms", ((1024, 1024),) * 2)
    assert phantoms.bundle.path == folder / "bundles" / "demo_bundle"
    assert (small.name, small.sizes) == ("small", ((160, 160),) * 2)
    for part in (phantoms, small):
        expected = part.load()
        assert len(expected) == 2 and part is small or any(item.mask.any() for item in expected)
        with Cascade.load(part.bundle.path, "onnxruntime", "fp32") as cascade:
            row = judged(cascade_segment(cascade), expected, "fp32", part.reference)
        assert row["held"] and row["images"] == 2
        assert "PyTorch" in row["reference"] and "carried" in row["reference"]


def test_other_masks_do_not_hold(folder: Path) -> None:
    part = read_references(folder, ROOT)[0]
    expected = part.load()
    nothing = np.zeros((1024, 1024), np.uint8)
    row = judged(lambda image: (nothing, expected[0].box), expected, "fp16", part.reference)
    assert not row["held"] and row["disagreement"] == 1.0 and row["emptiness_flips"]


def test_masks_of_another_bundle_are_refused(folder: Path) -> None:
    carried = folder / "bundles" / "demo_bundle"
    shutil.rmtree(carried)
    shutil.copytree(ROOT / "examples" / "bsdata", carried)
    with pytest.raises(BundleError, match="made with another bundle .*make gpu-references"):
        read_references(folder, ROOT)


@pytest.mark.parametrize("path", ["/etc", "../outside"])
def test_a_bundle_outside_is_refused(folder: Path, path: str) -> None:
    values = json.loads((folder / INDEX).read_text())
    values["sets"][0]["bundle"] = path
    (folder / INDEX).write_text(json.dumps(values))
    with pytest.raises(BundleError, match="leaves its folder"):
        read_references(folder, ROOT)


def test_a_folder_that_lost_an_image_is_refused(folder: Path) -> None:
    next((folder / "small" / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="are not those of references.json"):
        read_references(folder, ROOT)[1].load()


def test_a_folder_of_something_else_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = CliRunner().invoke(main, [str(tmp_path), "--phantoms", str(DEMO), "1"])
    assert done.exit_code == 2 and "holds something else" in done.output
    assert (tmp_path / "precious.txt").exists()
