"""An engine and precision of a bundle, made twice: as our Cascade, and as the bare engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import onnxruntime

from foveate.runtime.bundle import Bundle
from foveate.runtime.cascade import Cascade
from foveate.runtime.engines import engine_from_onnx
from foveate.runtime.engines.base import Array
from foveate.runtime.engines.onnxruntime import PROVIDER

OUTPUTS = ("mask", "box", "score")
"""What a Cascade fetches when it is called, and so does the bare engine."""
BareCall = Callable[[Array], object]


@dataclass(frozen=True)
class Variant:
    """What is measured. ``cascade`` and ``bare`` are made for a number of threads each.

    ``bare`` takes an array as the graph takes it (``engines.base.feed``) and fetches the masks.
    """

    name: str
    cascade: Callable[[int], Cascade]
    bare: Callable[[int], AbstractContextManager[BareCall]]


def variant_of(bundle: Bundle, engine: str, precision: str) -> Variant:
    """Return a bundle's variant for the name of an engine (not auto) and a precision."""
    return Variant(
        f"{engine} {precision}",
        lambda threads: Cascade.load(bundle.folder, engine, precision, threads),
        partial(bare_engine, bundle, engine, precision),
    )


@contextmanager
def bare_engine(bundle: Bundle, engine: str, precision: str, threads: int) -> Iterator[BareCall]:
    """Give a call of the engine with nothing of ours around it.

    For onnxruntime a session of its own with default options, so that a wait or a slow setting in
    our engine shows; for others our engine, called directly.
    """
    graph = bundle.graph(precision)
    if engine == "onnxruntime":
        yield _bare_onnxruntime(graph, threads)
        return
    with engine_from_onnx(engine, graph, threads) as loaded:
        yield lambda image: loaded.run({"image": image}, OUTPUTS)


def _bare_onnxruntime(graph: bytes, threads: int) -> BareCall:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=[PROVIDER])
    return lambda image: session.run(OUTPUTS, {"image": image})
