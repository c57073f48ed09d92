"""Plans really built by TensorRT-RTX, which needs no GPU for it; none is run here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from foveate.export.folding import fold_cascade, folded
from foveate.export.onnx_graph.cascade import cascade_model
from foveate.export.tensorrt.build import _config, build_plan, check_options
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.engines.cuda.pycuda_device import gpu
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.tensorrt.build_options import BuildOptions
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery, find
from foveate.runtime.engines.tensorrt.toolkit import Toolkit, toolkit
from foveate.runtime.errors import EngineError, GraphError, SettingsError
from tests.conftest import run
from tests.drawing import random_network, small_spec, tiled
from tests.networks import exported, random_ensemble, trained_cascade

ROOT = Path(__file__).parents[3]
SMALL = ("--batch", "1,2,4", "--size", "160x160,64x200")
OPTIONS = BuildOptions(((160, 160), (64, 200)), (1, 2, 4))
SLOW = pytest.mark.slow
SMALL_BINARY, WIDE = small_spec(), small_spec("uint16", 2)
KINDS = {
    "box, fp32": (SMALL_BINARY, "fp32"),
    "box of 16 bits, two classes, fp16": (WIDE, "fp16"),
    "own size, fp16": (replace(small_spec(single=True), pad_multiple=4), "fp16"),
    "box of rgb, fp16": (small_spec(channels="rgb", mode="imagenet"), "fp16"),
}
MORE_KINDS = {
    "box, fp16": (SMALL_BINARY, "fp16"),
    "box of 16 bits, two classes, fp32": (WIDE, "fp32"),
    "tiles, two classes, fp16": (tiled(WIDE, 3, 0.25), "fp16"),
    "tiles, fp32": (tiled(SMALL_BINARY, 3, 0.25), "fp32"),
    "all tiles, fp32": (tiled(SMALL_BINARY, 0, 0.5), "fp32"),
    "all tiles, two classes, fp16": (tiled(WIDE, 0, 0.5), "fp16"),
    "box of rgb, fp32": (small_spec(channels="rgb"), "fp32"),
    "tiles of 4 channels, fp16": (tiled(small_spec("uint16", channels="4"), 3, 0.25), "fp16"),
    "own size of rgb": (replace(small_spec(single=True, channels="rgb"), pad_multiple=4), "fp32"),
}


@pytest.fixture
def rtx() -> Toolkit:
    """TensorRT-RTX, and not a full TensorRT that would want a GPU."""
    module = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    return Toolkit("tensorrt_rtx", module.__version__, module)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanCache:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    return PlanCache(tmp_path / "cache" / "plans")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one network at the image's own size: its plans are built in half a second."""
    spec = KINDS["own size, fp16"][0]
    out = tmp_path_factory.mktemp("small") / "small.bundle"
    return exported("unet", trained_cascade(spec, "unet"), out, "fp32", "fp16")


def build(bundle: Path, *more: object) -> Result:
    result = run("build", bundle, *SMALL, *more)
    assert result.exception is None, result.output
    return result


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(k, marks=SLOW) for k in MORE_KINDS)])
def test_every_kind_of_cascade_becomes_a_plan(rtx: Toolkit, tmp_path: Path, kind: str) -> None:
    spec, precision = {**KINDS, **MORE_KINDS}[kind]
    count = spec.input_channels
    networks = [folded(random_network(n, spec.output_channels, n)) for n in (count, count + 1)]
    stage2 = None if spec.stage2 is None else networks[1]
    graph = cascade_model(spec, networks[0], stage2, precision).SerializeToString()
    phases: list[str] = []
    log = tmp_path / "build.log"
    plan = build_plan(rtx, graph, OPTIONS, log, lambda phase, done, total: phases.append(phase))
    assert len(plan) > 100_000 and phases
    assert "ERROR" not in log.read_text().replace("INTERNAL_ERROR: Thread context", "")


def test_an_average_of_mirrored_images_of_any_size_becomes_a_plan(
    rtx: Toolkit, tmp_path: Path
) -> None:
    cascade = fold_cascade(random_ensemble(KINDS["own size, fp16"][0], 2, flips=True))
    graph = cascade_model(cascade.spec, cascade.stage1, None, "fp16").SerializeToString()
    assert len(build_plan(rtx, graph, OPTIONS, tmp_path / "log", lambda *step: None)) > 100_000


def test_a_miss_builds_a_hit_does_not_and_a_changed_graph_misses(
    rtx: Toolkit, cache: PlanCache, small: Path
) -> None:
    assert "Built by TensorRT-RTX" in build(small).output
    (record,) = cache.records()
    log = cache.path(record.key, ".log").read_text()
    assert "Engine generation completed" in log
    assert "In the cache already" in build(small).output
    assert "Built by" in build(small, "--precision", "fp32").output
    assert "Built by" in build(small, "--target", "sm86").output
    assert len(cache.records()) == 3
    assert run("build", "--verify").return_value == 0


def test_a_plan_is_found_for_the_shapes_it_was_built_for(
    rtx: Toolkit, cache: PlanCache, small: Path
) -> None:
    build(small)
    graph = open_bundle(small).graph_sha256("fp16")
    wanted = PlanQuery("tensorrt_rtx", rtx.version, Gpu("any", "sm89"), str(small), "fp16", graph)
    record = find(cache, wanted, (4, 100, 200))
    assert len(cache.read(record, str(small))) == record.plan_bytes


def test_a_damaged_plan_is_told_and_built_again(
    rtx: Toolkit, cache: PlanCache, small: Path
) -> None:
    build(small)
    (record,) = cache.records()
    path = cache.path(record.key, ".plan")
    path.write_bytes(path.read_bytes()[:-1])
    verified = run("build", "--verify")
    assert verified.return_value == 1 and "does not match its record" in verified.output
    with pytest.raises(EngineError) as refused:
        cache.read(record, str(small))
    line = str(refused.value).split("Rebuild it: foveate ")[1]
    assert run(*line.split()).exception is None
    assert run("build", "--verify").return_value == 0


def test_a_plan_goes_out_and_comes_in(
    rtx: Toolkit,
    cache: PlanCache,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build(small, "--out", tmp_path / "out.plan", "--target", "sm120,sm86")
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "elsewhere"))
    assert "sm86, sm120" in run("build", "--import", tmp_path / "out.plan").output
    assert "In the cache already" in build(small, "--target", "sm86,sm120").output
    assert "1 in " in run("build", "--list").output
    assert "0 files removed, 1 plans kept" in run("build", "--prune").output


def test_a_graph_that_is_refused_keeps_its_log(
    rtx: Toolkit, cache: PlanCache, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(GraphError, match="TensorRT-RTX .* cannot build the graph: "):
        build_plan(rtx, b"no graph", OPTIONS, log, lambda *step: None)
    assert "ERROR" in log.read_text()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--timing-cache", "--timing-cache is for the full TensorRT; TensorRT-RTX"),
        ("--version-compatible", "--version-compatible is for the full TensorRT"),
        ("--hardware-compatible", "--hardware-compatible is for the full TensorRT"),
        ("--target=sm86,sm42", "--target sm42; TensorRT-RTX"),
    ],
)
def test_what_rtx_does_not_have_is_refused(
    rtx: Toolkit, cache: PlanCache, small: Path, option: str, said: str
) -> None:
    result = run("build", small, *SMALL, option)
    assert isinstance(result.exception, SettingsError) and said in str(result.exception)


def test_a_target_is_refused_by_the_full_tensorrt() -> None:
    full = Toolkit("tensorrt", "11.4.1", SimpleNamespace())
    with pytest.raises(SettingsError, match="--target is for TensorRT-RTX; TensorRT 11.4.1"):
        check_options(full, BuildOptions(((64, 64),), targets=("sm86",)))


def test_without_tensorrt_the_install_lines_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"foveate\[tensorrt\]'.*foveate\[rtx\]'"):
        toolkit()


def test_a_build_for_the_gpu_at_hand_asks_for_it(
    rtx: Toolkit, cache: PlanCache, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    result = run("build", small, *SMALL, "--target", "current")
    assert isinstance(result.exception, EngineError)
    assert "it needs the NVIDIA driver, and pip install 'foveate[cuda]'" in str(result.exception)
    assert cache.records() == []


def test_the_gpu_at_hand_is_a_target_that_goes_alone(rtx: Toolkit, tmp_path: Path) -> None:
    current = rtx.module.ComputeCapability.CURRENT
    builder = rtx.module.Builder(rtx.module.Logger(rtx.module.Logger.INTERNAL_ERROR))
    config = _config(rtx, builder, replace(OPTIONS, targets=("current",)), tmp_path / "log")
    assert config.get_compute_capability(0) == current
    with pytest.raises(EngineError, match="TensorRT-RTX .* does not accept --target current; its"):
        _config(rtx, builder, replace(OPTIONS, targets=("sm86", "current")), tmp_path / "log")


def test_plans_leave_memory_to_the_user_so_that_graphs_can_be_captured(
    rtx: Toolkit, tmp_path: Path
) -> None:
    """That such plans build is held by every other test here; older versions have no such flag."""
    flags = rtx.module.BuilderFlag
    builder = rtx.module.Builder(rtx.module.Logger(rtx.module.Logger.ERROR))
    config = _config(rtx, builder, OPTIONS, tmp_path / "log")
    assert config.get_flag(flags.REQUIRE_USER_ALLOCATION)
    older = Toolkit(
        "tensorrt_rtx", "1.1", SimpleNamespace(BuilderFlag=SimpleNamespace(TF32=flags.TF32))
    )
    assert not _config(older, builder, OPTIONS, tmp_path / "log").get_flag(
        flags.REQUIRE_USER_ALLOCATION
    )


def test_tf32_is_off_unless_asked_for(rtx: Toolkit) -> None:
    builder = rtx.module.Builder(rtx.module.Logger(rtx.module.Logger.ERROR))
    for tf32 in (False, True):
        options = BuildOptions(((64, 64),), tf32=tf32, workspace_mb=64, targets=("sm86", "sm89"))
        config = _config(rtx, builder, options, Path("log"))
        assert config.get_flag(rtx.module.BuilderFlag.TF32) is tf32
        assert config.get_memory_pool_limit(rtx.module.MemoryPoolType.WORKSPACE) == 64 << 20
        assert config.num_compute_capabilities == 2
        assert config.get_compute_capability(1) == rtx.module.ComputeCapability.SM89


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")
def test_the_options_of_the_full_tensorrt_set_what_they_say(rtx: Toolkit, tmp_path: Path) -> None:
    """Over the bindings of TensorRT-RTX, which have the same names; nothing is built."""
    trt = rtx.module
    full = Toolkit("tensorrt", "11.4.0", trt)
    builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    options = BuildOptions(
        ((64, 64),), optimisation_level=5, timing_cache=True, version_compatible=True
    )
    config = _config(full, builder, options, tmp_path / "log")
    assert config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    assert config.builder_optimization_level == 5
    assert config.get_timing_cache() is not None


def test_a_tensorrt_that_cannot_start_says_what_it_needs(rtx: Toolkit, tmp_path: Path) -> None:
    def no_gpu(logger: object) -> None:
        logger.log(rtx.module.ILogger.ERROR, "CUDA initialization failure with error: 35")  # type: ignore[attr-defined]
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = SimpleNamespace(ILogger=rtx.module.ILogger, Builder=no_gpu)
    full = Toolkit("tensorrt", "11.4.0", module)
    with pytest.raises(EngineError, match="cannot start: CUDA init.* needs an NVIDIA GPU"):
        build_plan(full, b"", OPTIONS, tmp_path / "log", lambda *step: None)


def test_a_gpu_that_cannot_be_asked_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match=r"foveate\[cuda\]"):
        gpu()


def started(bundle: Path, cache: PlanCache) -> subprocess.Popen[str]:
    """Return a build in a process of its own."""
    command = [sys.executable, "-m", "foveate", "build", str(bundle), *SMALL]
    environment = {**os.environ, "FOVEATE_CACHE": str(cache.folder.parent)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_two_processes_build_one_plan(rtx: Toolkit, cache: PlanCache, small: Path) -> None:
    said = [
        process.communicate(timeout=300)[0] for process in [started(small, cache) for _ in "12"]
    ]
    assert sorted(text.count("Built by") for text in said) == [0, 1], said
    assert sum("In the cache already" in text for text in said) == 1
    assert len(cache.records()) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_is_stopped_leaves_no_plan(
    rtx: Toolkit, cache: PlanCache, bundle: Path, small: Path, number: signal.Signals
) -> None:
    process = started(bundle, cache)
    while not (cache.folder / "cache.lock").exists():
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), errors
    assert cache.records() == []
    assert "Built by" in build(small).output


@SLOW
@pytest.mark.parametrize("name", ["benchmarks/demo_bundle", "examples/usgra", "examples/bsdata"])
def test_the_shipped_bundles_become_plans(
    rtx: Toolkit, cache: PlanCache, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(ROOT / name, tmp_path / "bundle")
    precisions = open_bundle(folder).precisions
    for precision in precisions:
        result = run(
            "build", folder, "--precision", precision, "--batch", "1,1,8",
            "--size", "1024x1024,256x256", "--target", "sm86,sm89",
        )  # fmt: skip
        assert result.exception is None, result.output
    assert len(cache.records()) == len(precisions)
