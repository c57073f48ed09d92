"""A fused graph becomes a TensorRT plan: TensorRT 10 and 11 and TensorRT-RTX, one path.

Strongly typed: the graph alone decides what is float16. Neither torch nor onnx is imported, so it
runs on a Jetson; TensorRT-RTX needs no GPU here. ``docs/tensorrt.md`` lists every call used.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from foveate.export.tensorrt.watch import Progress, interruptible, logger, monitor
from foveate.runtime.engines.tensorrt.build_options import TARGET, BuildOptions, in_order
from foveate.runtime.engines.tensorrt.toolkit import Toolkit
from foveate.runtime.errors import EngineError, GraphError, SettingsError

INPUT = "image"


def build_plan(
    kit: Toolkit, graph: bytes, options: BuildOptions, log_path: Path, progress: Progress
) -> bytes:
    """Return the plan of a graph, and write what TensorRT said to ``log_path``.

    ``progress`` is told (phase, steps done, steps in all). GraphError when TensorRT refuses the
    graph or cannot build it, SettingsError for an option that this TensorRT does not have.
    """
    check_options(kit, options)
    log, stop = logger(kit.module), threading.Event()
    try:
        with interruptible(stop):
            network, builder = _network(kit, graph, log, log_path)
            config = _config(kit, builder, options, log_path)
            index = config.add_optimization_profile(_profile(builder, network, options))
            _accepted(kit, index >= 0, "the shapes of --batch and --size", log_path)
            config.progress_monitor = monitor(kit.module, progress, stop)
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise GraphError(_refused(kit, log.errors, log_path))
            _keep_timings(config, options, kit, log_path)
            return bytes(plan)
    finally:
        log_path.write_text("".join(f"{line}\n" for line in log.lines), encoding="utf-8")


def _network(kit: Toolkit, graph: bytes, log: Any, log_path: Path) -> tuple[Any, Any]:
    """Return the parsed network and its builder."""
    trt = kit.module
    try:
        builder = trt.Builder(log)
    except Exception as error:  # no driver or no GPU: the bindings raise TypeError
        raise EngineError(_no_builder(kit, log, error)) from error
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        errors = [
            f"{error.node_operator()} ({error.node_name()}): {error.desc()}" for error in found
        ]
        raise GraphError(_refused(kit, errors, log_path))
    return network, builder


def check_options(kit: Toolkit, options: BuildOptions) -> None:
    """Raise SettingsError for an option that this TensorRT does not have.

    All that differs between the full TensorRT and TensorRT-RTX in what may be asked for.
    """
    if not kit.rtx:
        if options.targets:
            raise SettingsError(
                f"--target is for TensorRT-RTX; {kit} builds for the GPU it runs on. "
                "Leave it out, or add --hardware-compatible"
            )
        return
    for name in ("timing_cache", "version_compatible", "hardware_compatible"):
        if getattr(options, name):
            raise SettingsError(
                f"--{name.replace('_', '-')} is for the full TensorRT; {kit} is installed. "
                "Leave it out"
            )
    known = rtx_targets(kit)
    unknown = [name for name in options.targets if name not in known]
    if unknown:
        raise SettingsError(f"--target {', '.join(unknown)}; {kit} has {', '.join(known)}")


def rtx_targets(kit: Toolkit) -> list[str]:
    """Return the targets that the installed TensorRT-RTX can build for."""
    names = (name.lower() for name in kit.module.ComputeCapability.__members__)
    return sorted((name for name in names if TARGET.fullmatch(name)), key=in_order)


def _config(kit: Toolkit, builder: Any, options: BuildOptions, log_path: Path) -> Any:
    """Return the builder's configuration; TF32 is on unless it is cleared.

    EngineError for a setting that TensorRT does not accept.
    """
    trt, config = kit.module, builder.create_builder_config()
    if kit.rtx and hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)  # else no CUDA graph, silently
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = options.optimisation_level
    if options.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.targets:
        config.num_compute_capabilities = len(options.targets)
        for index, name in enumerate(options.targets):
            capability = getattr(trt.ComputeCapability, name.upper())
            done = config.set_compute_capability(capability, index)
            _accepted(kit, done, f"--target {name}", log_path)
    if options.timing_cache:
        path = _timing_path(kit, log_path)
        timings = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
        done = timings is not None and config.set_timing_cache(timings, False)
        _accepted(
            kit, done, f"the timing cache {path} (remove it if it is of another GPU)", log_path
        )
    return config


def _accepted(kit: Toolkit, done: bool, what: str, log_path: Path) -> None:
    """Raise EngineError unless TensorRT accepted a setting."""
    if not done:
        raise EngineError(f"{kit} does not accept {what}; its log is {log_path}")


def _strongly_typed(trt: Any) -> int:
    """Return the network's flags: TensorRT 10 must be asked for strong types, 11 has no other."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: Any, network: Any, options: BuildOptions) -> Any:
    """Return the one optimisation profile: (N, H, W), or (N, H, W, 2) for a 16-bit bundle."""
    shapes, tail = options.profile, tuple(network.get_input(0).shape)[3:]
    profile = builder.create_optimization_profile()
    least, usual, most = (
        (getattr(shapes.batch, at), getattr(shapes.height, at), getattr(shapes.width, at), *tail)
        for at in ("min", "opt", "max")
    )
    profile.set_shape(INPUT, least, usual, most)
    return profile


def _timing_path(kit: Toolkit, log_path: Path) -> Path:
    return log_path.with_name(f"timing-{kit.flavour}-{kit.version}.cache")


def _keep_timings(config: Any, options: BuildOptions, kit: Toolkit, log_path: Path) -> None:
    """Write the timing cache back next to the plan."""
    timings = config.get_timing_cache() if options.timing_cache else None
    if timings is not None:
        _timing_path(kit, log_path).write_bytes(bytes(timings.serialize()))


def _refused(kit: Toolkit, errors: list[str], log_path: Path) -> str:
    first = " ".join((errors or ["it does not say why"])[0].split())[:300]
    return (
        f"{kit} cannot build the graph: {first}. Its log is {log_path}; a bundle of an earlier "
        "foveate may need to be exported again"
    )


def _no_builder(kit: Toolkit, log: Any, error: Exception) -> str:
    said = " ".join((log.errors or [str(error)])[0].split())[:300]
    return (
        f"{kit} cannot start: {said}. It needs an NVIDIA GPU and its driver; without one, "
        "TensorRT-RTX builds: pip install 'foveate[rtx]'"
    )
