"""The ``tensorrt`` engine of a bundle: for every call the plan of the cache that covers it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from foveate.runtime.arrays import HOST, Array, Feed, GpuArray
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import read_checked, write_checked
from foveate.runtime.closeable import CLOSED, Closeable
from foveate.runtime.engines.cuda.device import Device
from foveate.runtime.engines.cuda.pycuda_device import CudaDevice, gpu
from foveate.runtime.engines.tensorrt.executor import tensor_of
from foveate.runtime.engines.tensorrt.plan import PlanFacts
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache, plan_cache
from foveate.runtime.engines.tensorrt.plan_engine import PlanEngine
from foveate.runtime.engines.tensorrt.plan_lookup import PlanQuery, Shape, covering, no_plan, usable
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord
from foveate.runtime.engines.tensorrt.slot import PendingRun
from foveate.runtime.engines.tensorrt.slot_ring import RingSettings
from foveate.runtime.engines.tensorrt.toolkit import toolkit
from foveate.runtime.errors import DeviceMemoryError, EngineError, SmallerBatchWarning
from foveate.runtime.spec import graph_of

IMAGE = "image"
SECOND_NS = 1_000_000_000
SUFFIX = ".kernels"


@dataclass(frozen=True)
class PlanSource:
    """Where plans come from: the cache, what is looked for in it, and on which device they run."""

    cache: PlanCache
    query: PlanQuery
    open_device: Callable[[], Device]


class TensorRTEngine(Closeable):
    """Plans of one graph, each loaded when a call first needs it. Safe from several threads.

    The newest plan is loaded at once, so that what is missing is said before the first image.
    """

    name = "tensorrt"

    def __init__(self, source: PlanSource, settings: RingSettings) -> None:
        self.source, self._settings = source, settings
        self._lock = threading.Lock()
        self._looked_ns = 0
        self._records = usable(source.cache, source.query)
        if not self._records:
            raise no_plan(source.cache, source.query, None)
        self._engines: dict[str, PlanEngine] = {}
        self._closed = False
        self.device = source.open_device()
        first = self._engine(self._records[0])
        self.inputs, self.outputs = first.inputs, first.outputs

    @property
    def max_in_flight(self) -> int:
        """How many runs can be in flight at once."""
        return max((engine.max_in_flight for engine in self._engines.values()), default=1)

    def most_images(self, count: int, height: int, width: int) -> int:
        """Return how many of ``count`` images of a size one call may have; 0: no plan takes any."""
        with self._lock:
            found = self._most(count, height, width)
            if not found:
                self._look_again()
            return found or self._most(count, height, width)

    def record_for(self, shape: Shape) -> PlanRecord:
        """Return the plan that covers a call; PlanError carries the line that builds one."""
        with self._lock:
            found = self._covers(shape)
        if found is None:
            raise no_plan(self.source.cache, self.source.query, shape)
        return found

    def run(self, feeds: Mapping[str, Feed], outputs: Sequence[str]) -> dict[str, Array]:
        """Return the named outputs, each an array of its own."""
        return self.submit(feeds, outputs).result().outputs

    def submit(
        self, feeds: Mapping[str, Feed], outputs: Sequence[str], into: Mapping[str, GpuArray] = HOST
    ) -> PendingRun:
        """Start a run; several may be in flight."""
        count, height, width = tensor_of(feeds[IMAGE]).shape[:3]
        record = self.record_for((count, height, width))
        with self._lock:
            engine = self._engine(record)
        return engine.submit(feeds, outputs, into)

    def close(self) -> None:
        """Keep the kernels that RTX compiled and free every plan."""
        with self._lock, ExitStack() as ends:
            self._closed = True
            engines, self._engines = self._engines, {}
            records = {record.key: record for record in self._records}
            for key, engine in engines.items():
                ends.callback(engine.close)
                self._keep_kernels(records[key], engine)

    def _covers(self, shape: Shape) -> PlanRecord | None:
        """Return the plan that covers a call, also one that was built since the engine was made."""
        found = covering(self._records, shape)
        if found is None:
            self._look_again()
        return found or covering(self._records, shape)

    def _most(self, count: int, height: int, width: int) -> int:
        profiles = [record.recipe.options.profile for record in self._records]
        counts = [(min(count, profile.batch.max), profile) for profile in profiles]
        return max((n for n, p in counts if not p.outside(n, height, width)), default=0)

    def _look_again(self) -> None:
        """Take up plans that were built since; the records are read where the folder has changed.

        A change of the last second counts again: another may follow with the same time.
        """
        changed_ns = self.source.cache.changed_ns()
        if changed_ns == self._looked_ns:
            return
        self._looked_ns = changed_ns if time.time_ns() - changed_ns > SECOND_NS else 0
        known = {record.key for record in self._records}
        fresh = usable(self.source.cache, self.source.query)
        self._records += [record for record in fresh if record.key not in known]

    def _engine(self, record: PlanRecord) -> PlanEngine:
        if self._closed:
            raise EngineError(CLOSED)
        if record.key not in self._engines:
            self._engines[record.key] = self._open(record)
        return self._engines[record.key]

    def _open(self, record: PlanRecord) -> PlanEngine:
        """Return the engine of a plan, with fewer slots where the device has no room for all."""
        cache, bundle = self.source.cache, self.source.query.bundle
        plan, kernels = cache.read(record, bundle), read_kernels(cache, record)
        facts = facts_of(record, bundle)
        for slots in range(self._settings.slots, 0, -1):
            settings = replace(self._settings, slots=slots)
            try:
                return PlanEngine(plan, facts, self.device, settings, kernels)
            except DeviceMemoryError as error:
                if slots == 1:
                    raise
                text = f"{error}. Trying {slots - 1} runs at a time instead of {slots}."
                warnings.warn(SmallerBatchWarning(text), stacklevel=2)
        raise AssertionError("a ring has at least one slot")

    def _keep_kernels(self, record: PlanRecord, engine: PlanEngine) -> None:
        kernels = engine.runtime_cache()
        if kernels and kernels != read_kernels(self.source.cache, record):
            with suppress(OSError):  # a cache that cannot be written only costs time
                write_kernels(self.source.cache, record, kernels)


def facts_of(record: PlanRecord, bundle: str) -> PlanFacts:
    """Return what a verified record says of its plan; ``bundle`` is the path for the build line."""
    recipe, line = record.recipe, record.build_line(bundle)
    return PlanFacts(recipe.flavour, recipe.version, line, recipe.options.version_compatible)


def plan_source(bundle: Bundle, precision: str, number: int = 0) -> PlanSource:
    """Return where a bundle's plans for a GPU come from; EngineError says what is missing."""
    kit = toolkit()
    graph = bundle.graph_sha256(graph_of(precision))
    path = str(bundle.path)
    query = PlanQuery(kit.flavour, kit.version, gpu(number), path, precision, graph, number)
    return PlanSource(plan_cache(), query, partial(CudaDevice, number))


def read_kernels(cache: PlanCache, record: PlanRecord) -> bytes:
    """Return the kernels kept for a plan; nothing when there are none or they are damaged."""
    return read_checked(cache.path(record.key, SUFFIX)) or b""


def write_kernels(cache: PlanCache, record: PlanRecord, kernels: bytes) -> None:
    """Keep the kernels of a plan that is still in the cache."""
    if cache.path(record.key, ".plan").is_file():
        write_checked(cache.path(record.key, SUFFIX), kernels)
