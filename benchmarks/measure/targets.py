"""The variants of a bundle that run here: every engine with every precision it can compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from foveate.benchmarks.schema.machine import nvidia_gpus
from foveate.runtime.bundle.bundle import Bundle, open_bundle
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.registry import REFUSED, ROUNDED, TENSORRT, engine_names
from foveate.runtime.engines.tensorrt.engine import TensorRTEngine
from foveate.runtime.errors import EngineError, PlanError
from foveate.runtime.spec import graph_of

GPU_ENGINES = (TENSORRT, "onnxruntime-cuda")
"""Engines on an NVIDIA GPU. They leave no idle threads that spin on the cores of the next call."""

NO_GPU = "no NVIDIA GPU is here"


@dataclass(frozen=True)
class Variant:
    """One engine with one precision."""

    engine: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    @property
    def on_gpu(self) -> bool:
        return self.engine in GPU_ENGINES


@dataclass
class Variants:
    """A bundle's cascades, loaded, and what cannot run here, with the reason."""

    bundle: Bundle
    cascades: dict[Variant, Cascade] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def on_cpu(self) -> bool:
        """Say whether any of them runs on the CPU."""
        return not all(variant.on_gpu for variant in self.cascades)

    def leave_out_uncovered(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Skip the variants whose TensorRT plans do not take images of all these (height, width).

        PlanError, with the line that builds the plan, when nothing is left then.
        """
        for variant, cascade in list(self.cascades.items()):
            try:
                for size in sizes:
                    if isinstance(cascade.engine, TensorRTEngine):
                        cascade.engine.record_for((1, *size))
            except PlanError as error:
                if len(self.cascades) == 1:
                    raise
                self.skipped[variant.name] = str(error)
                del self.cascades[variant]


@contextmanager
def open_variants(
    path: Path,
    engines: Sequence[str] = (),
    precisions: Sequence[str] = (),
    threads: int = 0,
    latency: bool = False,
) -> Iterator[Variants]:
    """Yield the variants of a bundle, loaded; ``latency`` is that of ``Cascade.load``.

    Without names every engine and every precision of the bundle is tried, and what does not run
    is skipped with its reason. An engine or precision that was named and does not run raises
    EngineError or BundleError, and so does having none at all. A precision that only another of
    the engines named can have is skipped.
    """
    found, no_gpu = Variants(open_bundle(path)), not engines and not nvidia_gpus()
    with ExitStack() as stack:
        for engine in engines or engine_names():
            for precision in precisions or _precisions(found.bundle, engine):
                variant = Variant(engine, precision)
                try:
                    cascade = Cascade.load(path, engine, precision, threads, latency)
                except EngineError as error:
                    named = bool(engines and precisions)
                    if named and not _is_anothers(engine, precision, engines):
                        raise
                    needless = no_gpu and variant.on_gpu
                    found.skipped[variant.name] = NO_GPU if needless else str(error)
                    continue
                found.cascades[variant] = stack.enter_context(cascade)
        if not found.cascades:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in found.skipped.items())
            raise EngineError(f"no engine here runs {path}: {reasons}")
        yield found


def _is_anothers(engine: str, precision: str, engines: Sequence[str]) -> bool:
    """Say whether an engine never has a precision that another one named may have."""

    def possible(name: str) -> bool:
        return ROUNDED.get(precision, name) == name and (name, precision) not in REFUSED

    return not possible(engine) and any(map(possible, engines))


def _precisions(bundle: Bundle, engine: str) -> tuple[str, ...]:
    """Return what an engine may compute with: the bundle's graphs, and fp32 rounded its own way."""
    rounded = (name for name, owner in ROUNDED.items() if owner == engine)
    return (*bundle.precisions, *(name for name in rounded if graph_of(name) in bundle.precisions))
