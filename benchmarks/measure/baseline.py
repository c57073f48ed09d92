"""A variant made twice: as our cascade, and as the engine with nothing of foveate's around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from foveate.benchmarks.measure.targets import Variant
from foveate.runtime.arrays import Array, Pixels, as_input_type, feed
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.registry import LoadSettings, engine_from_bundle
from foveate.runtime.errors import EngineError

OUTPUTS = ("mask", "box", "score")
"""What a Cascade fetches when it is called, and so does the bare engine."""
BaselineCall = Callable[[Array], object]
CPU = "CPUExecutionProvider"


def ready(images: Sequence[Pixels], kind: tuple[str, int]) -> Array:
    """Return images of one shape, as one batch, as a graph of a kind of input takes them."""
    stacked = np.stack([as_input_type(image, *kind) for image in images])
    return feed(stacked)  # type: ignore[arg-type]  # one type for all


@dataclass(frozen=True)
class WithBaseline:
    """What is held against its own engine. ``cascade`` and ``bare`` take a number of threads.

    A bare call takes an array as the graph takes it (``engines.base.feed``) and fetches the masks.
    """

    name: str
    cascade: Callable[[int], Cascade]
    baseline: Callable[[int], AbstractContextManager[BaselineCall]]


def with_baseline(bundle: Bundle, variant: Variant) -> WithBaseline:
    """Return both forms of a bundle's variant, to be made for any number of threads."""
    return WithBaseline(
        variant.name,
        lambda threads: Cascade.load(bundle.path, variant.engine, variant.precision, threads),
        partial(baseline_engine, bundle, variant),
    )


@contextmanager
def baseline_engine(
    bundle: Bundle, variant: Variant, threads: int, latency: bool = False
) -> Iterator[BaselineCall]:
    """Give a call of the engine with nothing of ours around it; ``latency`` as in ``Cascade.load``.

    For onnxruntime a session of its own with default options, so that a wait or a slow setting in
    our engine shows; for others our engine, called directly.
    """
    if variant.engine == "onnxruntime":
        session = BaselineSession(bundle.graph(variant.precision), threads)
        yield lambda image: session.run(image, OUTPUTS)
        return
    settings = LoadSettings(threads, latency)
    with engine_from_bundle(bundle, variant.engine, variant.precision, settings) as loaded:
        yield lambda image: loaded.run({"image": image}, OUTPUTS)


class BaselineSession:
    """A session with default options but threads and provider; its graph has one input.

    EngineError when ONNX Runtime takes another provider, which it does without a word.
    """

    def __init__(
        self, graph: bytes, threads: int, provider: str = CPU, spinning: bool = True
    ) -> None:
        import onnxruntime  # a machine with TensorRT alone has none

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(graph, options, providers=[provider])
        taken = self.session.get_providers()
        if taken[0] != provider:
            raise EngineError(f"ONNX Runtime took {taken[0]}; expected {provider}")
        self.source = self.session.get_inputs()[0].name

    def run(self, values: Array, outputs: Sequence[str] | None = None) -> list[Array]:
        """Return the named outputs, or all of them."""
        found: list[Array] = self.session.run(outputs, {self.source: values})
        return found
