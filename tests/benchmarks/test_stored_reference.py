"""``--reference FOLDER``: masks that PyTorch made elsewhere, and what does not belong to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from foveate.benchmarks.scripts.gpu_check import unpack
from foveate.benchmarks.scripts.gpu_references import main
from foveate.runtime.bundle.bundle import open_bundle
from tests.benchmarks.test_without_torch import benchmark
from tests.conftest import run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "benchmarks" / "demo_bundle"


def write_references(folder: Path, *more: object) -> Path:
    """Write two phantoms with the demo bundle's masks."""
    words = [folder / "r", DEMO, 2, "--size", 192, *more]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert "MiB in all" in done.output
    return folder / "r"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_references(tmp_path_factory.mktemp("references"))


@pytest.fixture
def phantoms(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "phantoms", tmp_path / "phantoms"))


def parity(bundle: Path, folder: Path, *more: object) -> tuple[int, dict[str, Any]]:
    words = ("benchmark", "parity", bundle, "--reference", folder, "--engines", "onnxruntime")
    done = run(*words, "--precision", "fp32", *more, "--json")
    if done.exception is not None:
        raise done.exception
    return done.return_value, json.loads(done.stdout)["parity"]["onnxruntime fp32"]


def test_onnx_runtime_has_the_masks_that_were_stored(made: Path) -> None:
    code, row = parity(DEMO, made / "phantoms")
    assert code == 0 and row["held"] and row["images"] == 2
    assert row["reference"].startswith("PyTorch") and row["reference"].endswith("stored")


def test_no_torch_is_needed(made: Path, tmp_path: Path) -> None:
    words = ("--engines", "onnxruntime", "--precision", "fp32", "--out", tmp_path / "p.json")
    done = benchmark("parity", DEMO, "--reference", made / "phantoms", *words)
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / "p.json").read_text())["parity"]["onnxruntime fp32"]
    assert row["held"] and row["reference"].startswith("PyTorch")


def test_the_archive_is_the_bundle(made: Path, tmp_path: Path) -> None:
    unpack(made / "bundle.tar.xz", tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest == open_bundle(DEMO).manifest
    assert bundle.graph("fp32") == open_bundle(DEMO).graph("fp32")


@pytest.mark.slow
def test_a_set_has_the_masks_of_its_example_and_a_graph_in_fp16(data: Path, tmp_path: Path) -> None:
    stems = tmp_path / "list.txt"
    stems.write_text("\n".join(sorted(path.stem for path in (data / "images").iterdir())[:5]))
    folder = write_references(tmp_path, "--set", "bsdata", data, stems, 2) / "bsdata"
    code, row = parity(ROOT / "examples" / "bsdata", folder)
    assert code == 0 and row["held"] and row["images"] == 2
    unpack(folder / "bundle.tar.xz", tmp_path / "b")
    assert open_bundle(tmp_path / "b").precisions == ("fp32", "fp16")
    assert parity(tmp_path / "b", folder)[1]["held"]


def test_masks_of_other_weights_are_refused(phantoms: Path) -> None:
    with pytest.raises(Exception, match="made with other weights .*make gpu-references"):
        parity(ROOT / "examples" / "bsdata", phantoms)


def test_another_export_of_the_same_weights_is_taken(phantoms: Path, demo_fp16: Path) -> None:
    """What decides the masks are the fp32 graph and the geometry, not the graphs next to it."""
    assert open_bundle(demo_fp16).content_sha256 != open_bundle(DEMO).content_sha256
    assert parity(demo_fp16, phantoms)[1]["held"]


def test_other_masks_do_not_hold(phantoms: Path) -> None:
    path = next((phantoms / "reference").iterdir())
    cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    code, row = parity(DEMO, phantoms)
    assert code == 1 and not row["held"] and row["worst_image"] == path.stem


def test_an_image_that_was_changed_has_no_mask(phantoms: Path) -> None:
    path = next((phantoms / "images").iterdir())
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image[0, 0] ^= 1
    cv2.imwrite(str(path), image)
    with pytest.raises(Exception, match="has no mask of this image"):
        parity(DEMO, phantoms)


def test_a_mask_of_another_size_is_refused(phantoms: Path) -> None:
    path = next((phantoms / "reference").iterdir())
    cv2.imwrite(str(path), np.zeros((10, 12), np.uint8))
    with pytest.raises(Exception, match=r"is \(10, 12\); expected \(192, 192\)"):
        parity(DEMO, phantoms)


def test_a_folder_of_something_else_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = CliRunner().invoke(main, [str(tmp_path), str(DEMO), "1"])
    assert done.exit_code == 2 and "holds something else" in done.output
    assert (tmp_path / "precious.txt").exists()
