"""The engine with nothing of foveate's around it: the floor that a call is held against."""

from __future__ import annotations

from collections.abc import Callable

from foveate.benchmarks.variants import Variant
from foveate.runtime.bundle import Bundle
from foveate.runtime.engines import engine_from_onnx
from foveate.runtime.engines.base import Array, available_cores

FETCHED = ("mask", "box", "score")
"""The outputs that a call fetches."""


def bare_engine(bundle: Bundle, variant: Variant, threads: int) -> Callable[[Array], object]:
    """Return a function that runs the graph on (N, H, W) uint8 input and fetches a call's outputs.

    For onnxruntime a session made here, so that time lost in foveate's own engine shows.
    """
    graph = bundle.graph(variant.precision)
    if variant.engine == "onnxruntime":
        from foveate.benchmarks.peers.onnxruntime_networks import BareSession

        session = BareSession(graph, threads or available_cores())
        return lambda values: session.run(values, FETCHED)
    engine = engine_from_onnx(variant.engine, graph, threads)
    return lambda values: engine.run({"image": values}, FETCHED)
