"""Does an engine run at all on this GPU? The demo bundle, and the exact words when it does not."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from foveate.benchmarks.bare import OUTPUTS, ready
from foveate.benchmarks.demo import bundle_path
from foveate.benchmarks.gpu.task import Task
from foveate.export.tensorrt import build_plan, rtx_targets
from foveate.export.tensorrt_watch import BuildLog, logger
from foveate.runtime.build_options import BuildOptions
from foveate.runtime.bundle import Bundle, open_bundle
from foveate.runtime.cascade import Cascade
from foveate.runtime.cuda import CudaDevice, name_and_sm
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.tensorrt import engine_from_plan
from foveate.runtime.engines.tensorrt_plan import PlanFacts
from foveate.runtime.errors import EngineError
from foveate.runtime.toolkit import FLAVOURS, Toolkit
from foveate.train.phantom import PhantomSettings, phantom

SIDE = 256
SAME = 0.001
"""Largest disagreement with ONNX Runtime on the CPU over the one image."""


def run(task: Task) -> None:
    """Run the demo bundle on one image: by a plan of a flavour of TensorRT, or another engine."""
    bundle = open_bundle(bundle_path())
    image = ready([phantom(PhantomSettings(1, SIDE, seed=5, bits=16), 0).image], "uint16")
    with Cascade.load(bundle.path, "onnxruntime") as cascade:
        wanted = cascade.engine.run({"image": image}, OUTPUTS)["mask"]
    if task.engine not in FLAVOURS:
        with Cascade.load(bundle.path, task.engine, "fp32") as cascade:
            _judge(task, cascade.engine.run({"image": image}, OUTPUTS)["mask"], wanted)
        return
    device = CudaDevice()
    with device.current():
        memory = device.memory()
    task.keep({"gpu": device.name, "sm": device.sm, "memory_mib": memory.total_bytes >> 20})
    module: Any = importlib.import_module(task.engine)
    kit = Toolkit(task.engine, str(module.__version__), module)
    task.keep({"toolkit": str(kit)})
    _judge(task, _by_plan(task, kit, bundle, image), wanted)


def _by_plan(task: Task, kit: Toolkit, bundle: Bundle, image: Array) -> Array:
    """Return the mask of a plan built as by default, else of one built for this GPU by name."""
    tried: list[dict[str, Any]] = []
    own = name_and_sm()[1]
    for targets in ((), (own,)) if kit.rtx and own in rtx_targets(kit) else ((),):
        options = BuildOptions(((SIDE, SIDE),), targets=targets)
        log = task.out / f"smoke-{kit.flavour}-{'-'.join(targets) or 'default'}.log"
        attempt: dict[str, Any] = {"targets": list(targets), "error": "", "said": []}
        tried.append(attempt)
        try:
            plan = build_plan(kit, bundle.graph("fp32"), options, log, lambda *step: None)
            facts = PlanFacts(kit.flavour, kit.version, "foveate build")
            try:
                with engine_from_plan(plan, facts) as engine:
                    mask = engine.run({"image": image}, OUTPUTS)["mask"]
                    task.keep({"attempts": tried, "targets": list(targets)})
                    return mask
            except EngineError:
                attempt["said"] = _said(kit, plan)
                raise
        except EngineError as error:
            attempt["error"] = str(error)
            task.keep({"attempts": tried})
    words = "; ".join(dict.fromkeys(item["error"] for item in tried))
    raise EngineError(f"{kit} does not run on this GPU ({own}): {words}")


def _said(kit: Toolkit, plan: bytes) -> list[str]:
    """Return everything TensorRT says when the plan is loaded once more, uncut."""
    log, trt = BuildLog(), kit.module
    with CudaDevice().current():
        says = logger(trt, log)
        runtime = trt.Runtime(says)
        if hasattr(runtime, "get_engine_validity"):
            log.add("VALIDITY", str(runtime.get_engine_validity(plan)))
        engine = runtime.deserialize_cuda_engine(plan)
        context = None if engine is None else engine.create_execution_context()
        log.add("CONTEXT", "none" if context is None else "made")
        del context, engine, runtime
    return log.lines


def _judge(task: Task, mask: Array, wanted: Array) -> None:
    either = int(np.count_nonzero((mask > 0) | (wanted > 0)))
    share = int(np.count_nonzero(mask != wanted)) / max(either, 1)
    task.keep({"disagreement": share, "foreground_pixels": either})
    if either == 0 or share > SAME:
        raise EngineError(f"its mask of {either} pixels differs in {share:.4f} of them")
    task.say(f"the demo's mask, {share:.5f} of {either} pixels differ")
