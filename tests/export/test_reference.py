"""The PyTorch reference of a bundle has the weights of the fp32 graph, which are there once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foveate.export import image_sets
from foveate.export.reference import torch_cascade
from foveate.runtime.bundle.bundle import file_sha256, open_bundle
from foveate.runtime.errors import BundleError
from foveate.runtime.spec import CascadeSpec
from foveate.train.reference.cascade import Output, TorchCascade
from tests.bad.bundles import sign
from tests.conftest import run
from tests.drawing import small_spec, tiled
from tests.networks import exported, trained_cascade

WEIGHTS = "weights.safetensors"
KINDS = {
    "U-Net": ("unet", small_spec()),
    "residual, tiles": ("residual", tiled(small_spec(), 3, 0.25)),
    "gates, three classes": ("residual_attention", small_spec("uint16", classes=3)),
    "single": ("attention", small_spec(single=True)),
    "encoder": ("resnet18", small_spec(single=True)),
    "encoder with squeezes": ("efficientnet-b0", small_spec(single=True)),
    "encoder padded at one side": ("efficientnet_lite0", small_spec()),
}


def output(cascade: TorchCascade) -> Output:
    image = np.random.default_rng(0).integers(0, 256, (2, 100, 140)).astype(np.float32)
    with torch.inference_mode():
        found: Output = cascade(torch.from_numpy(image))
    return found


def check_same(found: TorchCascade, expected: TorchCascade) -> None:
    weights = found.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize(("name", "spec"), KINDS.values(), ids=KINDS)
def test_a_bundle_gives_the_masks_of_what_was_trained(
    name: str, spec: CascadeSpec, tmp_path: Path
) -> None:
    trained = trained_cascade(spec, name)
    bundle = exported(name, trained, tmp_path / "b")
    assert not (bundle / WEIGHTS).exists(), "the weights are in the graph"
    found, expected = output(torch_cascade(open_bundle(bundle))), output(trained)
    for part in ("coarse", "refined"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), atol=3e-5, rtol=0)
    assert expected.mask.any()
    assert int((found.mask != expected.mask).sum()) <= 1, "more than a rounding"
    assert torch.equal(found.box, expected.box)


def test_bundles_of_earlier_versions_give_the_same_reference(bundle: Path, tmp_path: Path) -> None:
    """They have every weight a second time, in a file of its own."""
    expected = torch_cascade(open_bundle(bundle))
    old = Path(shutil.copytree(bundle, tmp_path / "old"))
    save_file(expected.state_dict(), old / WEIGHTS)
    entry = {"sha256": file_sha256(old / WEIGHTS)}
    sign(old, lambda manifest: manifest["files"].update({WEIGHTS: entry}))
    assert f"{WEIGHTS}: " in run("bundle", "verify", old).output
    check_same(torch_cascade(open_bundle(old)), expected)


def test_a_bundle_without_an_fp32_graph_has_its_weights_in_a_file(tmp_path: Path) -> None:
    """Those of a graph in float16 are rounded, and of 8 bits even more so."""
    trained = trained_cascade(small_spec(single=True), "unet")
    paths = [exported("unet", trained, tmp_path / name, name) for name in ("fp32", "fp16")]
    assert (paths[1] / WEIGHTS).exists() and not (paths[1] / "cascade.fp32.onnx").exists()
    exact, found = (torch_cascade(open_bundle(path)) for path in paths)
    check_same(found, exact)


def test_a_network_that_is_not_the_one_of_the_graph_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    sign(copy, lambda manifest: manifest["network"].update(width=5))
    with pytest.raises(BundleError, match=r"cascade\.fp32\.onnx: stage1\..* is \[4, .*5"):
        torch_cascade(open_bundle(copy))


def test_a_shipped_bundle_gets_a_graph_in_float16_without_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sets, "PHANTOMS", 1)
    source = Path(__file__).parents[2] / "examples" / "bsdata"
    result = run("export", source, "--out", tmp_path / "b", "--precision", "fp32,fp16")
    assert result.exception is None, result.output
    made, shipped = open_bundle(tmp_path / "b"), open_bundle(source)
    assert made.precisions == ("fp32", "fp16") and shipped.precisions == ("fp32",)
    assert made.graph("fp32") == shipped.graph("fp32")
    assert "1 phantoms" in (tmp_path / "b" / "parity.json").read_text()
