"""OpenVINO: what the contract of all engines does not say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from foveate.export.folding import folded
from foveate.export.int8.quantise import quantise, value_ranges
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.runtime.arrays import Array
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines import openvino_model as openvino_cache
from foveate.runtime.engines.registry import engine_from_onnx
from foveate.runtime.errors import EngineError, GraphError
from foveate.runtime.spec import CascadeSpec
from tests.drawing import (
    random_network,
    small_spec,
    threshold_network,
    threshold_spec,
    tiled,
)
from tests.runtime.engines.tiny_graphs import two_outputs

pytest.importorskip("foveate.runtime.engines.openvino_import")
from foveate.runtime.engines import openvino_model  # noqa: E402  # it imports openvino
from foveate.runtime.engines.openvino import OpenVinoEngine  # noqa: E402


def loaded(graph: bytes, threads: int = 0, bf16: bool = False) -> OpenVinoEngine:
    """Return an engine; the test is skipped where the processor has no bfloat16."""
    try:
        return OpenVinoEngine(graph, threads, bf16)
    except EngineError as error:
        if not bf16 or isinstance(error, GraphError):
            raise
        pytest.skip(str(error))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path))
    return tmp_path / "openvino"


def random_graph(spec: CascadeSpec) -> bytes:
    first = spec.input_channels
    networks = folded(random_network(first, 1, 5)), folded(random_network(first + 1, 1, 6))
    return bytes(cascade_model(spec, *networks, "fp32").SerializeToString())


def precisions(engine: OpenVinoEngine) -> dict[str, set[str]]:
    """Return kind of node -> the types that OpenVINO really computes such nodes in."""
    found: dict[str, set[str]] = {}
    for node in engine._any.model.get_runtime_model().get_ordered_ops():
        facts = {
            key: str(getattr(value, "value", value)) for key, value in node.get_rt_info().items()
        }
        found.setdefault(facts["layerType"], set()).add(facts["runtimePrecision"])
    return found


@pytest.mark.parametrize("mode", ["box", pytest.param("tiles", marks=pytest.mark.slow)])
def test_bf16_is_for_the_networks_and_float32_for_the_geometry(mode: str) -> None:
    networks = folded(random_network(1, 1, 5)), folded(random_network(2, 1, 6))
    spec = small_spec() if mode == "box" else tiled(small_spec(), 3, 0.5)
    graph = bytes(cascade_model(spec, *networks, "fp32").SerializeToString())
    with loaded(graph, bf16=True) as engine:
        found = precisions(engine)
    assert found["Convolution"] == found["Deconvolution"] == {"bf16"}
    assert found["MatMul"] == {"f32"}
    assert "bf16" not in found["Eltwise"] | found.get("Reduce", set())
    with loaded(graph) as engine:
        assert {"bf16"} not in precisions(engine).values()


def test_int8_is_for_the_networks_and_float32_for_the_geometry() -> None:
    networks = folded(random_network(1, 1, 5)), folded(random_network(2, 1, 6))
    model = cascade_model(small_spec(), *networks, "int8")
    image = np.random.default_rng(3).integers(0, 256, (1, 60, 80), dtype=np.uint8)
    graph = quantise(model, value_ranges(model, [image]), ()).SerializeToString()
    with loaded(graph) as engine:
        found = precisions(engine)
    assert found["Convolution"] == {"u8"} and found["MatMul"] == {"f32"}
    assert found["Reduce"] | found["Eltwise"] <= {"f32", "i32"}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("spec", "tail"),
    [
        (small_spec(), ()),
        (small_spec(channels="rgb"), (3,)),
        (small_spec("uint16", channels="4"), (4, 2)),
    ],
    ids=["grey", "rgb", "4 of 16 bits"],
)
def test_a_fixed_shape_gives_the_same_masks(
    cache: Path, spec: CascadeSpec, tail: tuple[int, ...], bf16: bool
) -> None:
    """Exactly so in float32; in bfloat16 rounding follows another order."""
    rng = np.random.default_rng(3)
    shapes = ((2, 60, 80, *tail), (1, 75, 50, *tail))
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    names = ("mask", "box", "coarse", "refined")
    graph = random_graph(spec)
    with loaded(graph, 1, bf16) as engine:
        expected = [engine.run({"image": image}, names) for image in images]
        engine.fix_shape(shapes[0])
        assert engine._fixed[shapes[0]].model.inputs[0].get_partial_shape().is_static
        for image, before in zip(images, [*expected], strict=True):
            found = engine.run({"image": image}, names)
            tolerance = 0.05 if bf16 else 1e-6
            np.testing.assert_allclose(found["coarse"], before["coarse"], atol=tolerance)
            assert (found["mask"] != before["mask"]).mean() <= (0.01 if bf16 else 0)
            if not bf16:
                assert_array_equal(found["box"], before["box"])
    assert len(list(cache.iterdir())) == 2  # kept for the next process, as that of any shape


def test_weights_are_rounded_to_the_nearest_bfloat16() -> None:
    """OpenVINO itself would cut 4 + 3/128 down to 4."""
    networks = (threshold_network(inputs, 4 + 3 / 128) for inputs in (1, 2))
    graph = cascade_model(threshold_spec(), *networks, "fp32").SerializeToString()
    with loaded(graph, bf16=True) as engine:
        found = engine.run({"image": np.full((1, 256, 256), 255, np.uint8)}, ("coarse",))["coarse"]
    weight, bias = 4 + 4 / 128, 2 + 2 / 128
    np.testing.assert_allclose(found, 1 / (1 + np.exp(bias - weight)), atol=2e-5)


def test_an_intel_gpu_that_is_not_here_is_named_with_its_driver(bundle: Path) -> None:
    if any(name.startswith("GPU") for name in openvino_model.openvino.Core().available_devices):
        pytest.skip("there is an Intel GPU")
    with pytest.raises(EngineError, match=r"no Intel GPU here, only CPU: .*intel-opencl-icd"):
        Cascade.load(bundle, "openvino-gpu")
    with pytest.raises(EngineError, match="use fp32 or int8"):
        Cascade.load(bundle, "openvino-gpu", "fp16")


WRONG = {
    "type": ({"x": np.ones(2, np.float64)}, "y"),
    "rank": ({"x": np.ones((2, 2), np.float32)}, "y"),
    "input": ({"nope": np.ones(2, np.float32)}, "y"),
    "output": ({"x": np.ones(2, np.float32)}, "nope"),
}


@pytest.mark.parametrize(("feeds", "expected"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_one_line_and_does_no_harm(
    feeds: dict[str, Array], expected: str
) -> None:
    x = np.arange(3, dtype=np.float32)
    x.flags.writeable = False
    with loaded(two_outputs()) as engine:
        with pytest.raises(GraphError, match="^OpenVINO cannot run the graph: .{5,304}$"):
            engine.run(feeds, (expected,))
        assert_array_equal(engine.run({"x": x}, ("y",))["y"], [1, 3, 5])


def test_a_graph_without_networks_has_nothing_for_bf16() -> None:
    with pytest.raises(GraphError, match="no stage1_input"):
        loaded(two_outputs(), bf16=True).close()


def test_a_processor_without_bf16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_model, "BF16_CAPABILITY", "BF4096")
    with pytest.raises(EngineError, match="this processor has none; use fp32"):
        engine_from_onnx("openvino", two_outputs(), 1, bf16=True)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_second_start_takes_what_the_first_one_kept(
    cache: Path, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(3).integers(0, 256, (1, 60, 80), dtype=np.uint8)
    with loaded(random_graph(small_spec()), 1, bf16) as engine:
        expected = engine.run({"image": image}, ("coarse",))["coarse"]
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(openvino_model, "_model", None)  # nothing is read or compiled any more
    with loaded(random_graph(small_spec()), 2, bf16) as engine:
        assert_array_equal(engine.run({"image": image}, ("coarse",))["coarse"], expected)
        assert ("bf16" in precisions(engine)["Convolution"]) == bf16


@pytest.mark.parametrize("bytes_left", [0, 500])
def test_a_damaged_file_of_the_cache_is_written_anew(cache: Path, bytes_left: int) -> None:
    loaded(two_outputs()).close()
    (path,) = cache.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:bytes_left])
    with loaded(two_outputs()) as engine:
        assert_array_equal(engine.run({"x": np.ones(1, np.float32)}, ("y",))["y"], [3])
    assert openvino_cache.load_blob(path.stem) is not None


def test_the_oldest_files_of_the_cache_go_first(cache: Path) -> None:
    for number in range(openvino_cache.MOST + 2):
        openvino_cache.store_blob(f"{number:02}", b"content")
    names = sorted(path.stem for path in cache.iterdir())
    assert len(names) == openvino_cache.MOST and names[-1] == f"{openvino_cache.MOST + 1:02}"


def test_fp16_is_refused_with_what_it_would_be(bundle: Path) -> None:
    with pytest.raises(EngineError, match="float32 with rounded weights; use fp32 or bf16"):
        Cascade.load(bundle, "openvino", "fp16")


@pytest.mark.parametrize(
    "line",
    [
        "import foveate.runtime.engines.openvino",
        "from foveate.runtime.cli.info import machine_facts; machine_facts()",
    ],
)
def test_the_import_sends_nothing_and_leaves_the_converter_importable(line: str) -> None:
    """OpenVINO's converter sends telemetry when it is imported, and the package imports it."""
    code = (
        f"import importlib.util, sys; {line}\n"
        "print([name for name in sys.modules if 'telemetry' in name or 'tools.ovc' in name])\n"
        "print(importlib.util.find_spec('openvino.tools.ovc') is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True"]
