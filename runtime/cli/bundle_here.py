"""What a bundle gets on this machine, in words: the engine that auto takes, the plans there are."""

from __future__ import annotations

from foveate.runtime.auto.choose import Choice, choose
from foveate.runtime.auto.cpu import Speeds
from foveate.runtime.auto.timing import idle_timer
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.base import available_cores
from foveate.runtime.engines.tensorrt.plan_cache import plan_cache


def facts_here(bundle: Bundle, gpu: int = 0) -> dict[str, str]:
    """Return what ``auto`` takes here, what it does not consider, and the plans in the cache.

    The engines of a CPU are timed for it, with all cores and with one, unless they were before or
    the machine is busy. ``gpu``: the number of the GPU that plans would run on.
    """
    one_by_one = choose(bundle, speeds=Speeds(available_cores(), idle_timer()), gpu=gpu)
    facts = {"auto": _words(one_by_one)}
    if one_by_one.engine_ms and available_cores() > 1:
        folder = choose(bundle, speeds=Speeds(1, idle_timer()), gpu=gpu)
        facts["auto, a folder"] = _words(folder)
    for label, reason in one_by_one.left_out.items():
        facts[f"auto without {label}"] = reason
    return facts | _plans(bundle)


def _words(choice: Choice) -> str:
    return f"{choice.label}; {choice.why}"


def _plans(bundle: Bundle) -> dict[str, str]:
    """Return the TensorRT plans of the bundle in the cache of this user, in words."""
    graphs = {bundle.graph_sha256(name) for name in bundle.precisions}
    return {
        f"plan {record.key[:12]}": str(record)
        for record in plan_cache().records()
        if record.recipe.graph_sha256 in graphs
    }
