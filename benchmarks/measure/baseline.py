"""A variant made twice: as our cascade, and as the engine with nothing of foveate's around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from foveate.benchmarks.measure.targets import Variant
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import Array, Pixels, feed
from foveate.runtime.engines.registry import LoadSettings, engine_from_bundle
from foveate.runtime.input_types import as_input_type

OUTPUTS = ("mask", "box", "score")
"""What a Cascade fetches when it is called, and so does the bare engine."""
BareCall = Callable[[Array], object]


def ready(images: Sequence[Pixels], input_type: str) -> Array:
    """Return images of one shape as a graph of an input type takes them, as one batch."""
    stacked = np.stack([as_input_type(image, input_type) for image in images])
    return feed(stacked)  # type: ignore[arg-type]  # one type for all


@dataclass(frozen=True)
class Contender:
    """What is held against its own engine. ``cascade`` and ``bare`` take a number of threads.

    A bare call takes an array as the graph takes it (``engines.base.feed``) and fetches the masks.
    """

    name: str
    cascade: Callable[[int], Cascade]
    bare: Callable[[int], AbstractContextManager[BareCall]]


def contender(bundle: Bundle, variant: Variant) -> Contender:
    """Return both forms of a bundle's variant, to be made for any number of threads."""
    return Contender(
        variant.name,
        lambda threads: Cascade.load(bundle.path, variant.engine, variant.precision, threads),
        partial(bare_engine, bundle, variant),
    )


@contextmanager
def bare_engine(
    bundle: Bundle, variant: Variant, threads: int, latency: bool = False
) -> Iterator[BareCall]:
    """Give a call of the engine with nothing of ours around it; ``latency`` as in ``Cascade.load``.

    For onnxruntime a session of its own with default options, so that a wait or a slow setting in
    our engine shows; for others our engine, called directly.
    """
    if variant.engine == "onnxruntime":
        from foveate.benchmarks.measure.baseline_session import BareSession

        session = BareSession(bundle.graph(variant.precision), threads)
        yield lambda image: session.run(image, OUTPUTS)
        return
    settings = LoadSettings(threads, latency)
    with engine_from_bundle(bundle, variant.engine, variant.precision, settings) as loaded:
        yield lambda image: loaded.run({"image": image}, OUTPUTS)
