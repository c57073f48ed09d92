"""A plan on the bench for one batch: our ring of slots, and the ceilings beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from foveate.benchmarks.bare import OUTPUTS, ready
from foveate.benchmarks.gpu.ceilings import IMAGE, Ceilings
from foveate.runtime.bundle import Bundle
from foveate.runtime.cuda import CudaDevice
from foveate.runtime.device import Device
from foveate.runtime.engines.base import Array, Pixels
from foveate.runtime.engines.planned import plan_source
from foveate.runtime.engines.tensorrt import TensorRtEngine
from foveate.runtime.engines.tensorrt_plan import Plan, PlanFacts
from foveate.runtime.plan_kernels import read_kernels
from foveate.runtime.plan_search import find
from foveate.runtime.ring import RingSettings
from foveate.runtime.ticket import StageTimes, Ticket

RING = "ring"
TRANSFERS, ENQUEUE, ENQUEUE_ALL = "with_transfers", "enqueue_one_stream", "enqueue_all_streams"
SLOTS = RingSettings().slots
Side = Callable[[int], object]
"""Called with a number of runs, each of one batch."""


@dataclass(frozen=True)
class PlanBytes:
    """A plan as an engine loads it, with the kernels that RTX compiled for it before."""

    plan: bytes
    facts: PlanFacts
    kernels: bytes


@dataclass
class Bench:
    """The ring and the ceilings of one plan, on one batch that lies ready on the host."""

    engine: TensorRtEngine
    ceilings: Ceilings
    image: Array
    times: list[StageTimes] = field(default_factory=list)

    def sides(self) -> dict[str, Side]:
        """Return what is timed, by name."""
        return {
            RING: self.ring,
            TRANSFERS: self.ceilings.transfer,
            ENQUEUE: self.ceilings.enqueue,
            ENQUEUE_ALL: partial(self.ceilings.enqueue, lanes=SLOTS),
        }

    def ring(self, runs: int) -> None:
        """Keep all slots of our ring busy for so many runs; views of the results are taken."""
        waiting: deque[Ticket] = deque()
        for _ in range(runs):
            waiting.append(self.engine.submit({IMAGE: self.image}, OUTPUTS))
            if len(waiting) >= SLOTS:
                self.times.append(waiting.popleft().result(copy=False).times)
        while waiting:
            self.times.append(waiting.popleft().result(copy=False).times)

    def differing(self, masks: Sequence[Array]) -> dict[str, int]:
        """Return in how many pixels the masks of ring and ceiling are not those of the cascade."""
        self.ceilings.transfer(SLOTS)
        found = {
            RING: self.engine.run({IMAGE: self.image}, ["mask"])["mask"],
            TRANSFERS: self.ceilings.output("mask"),
        }
        wanted = np.stack(masks)
        return {name: int(np.count_nonzero(mask != wanted)) for name, mask in found.items()}


@contextmanager
def bench_of(source: PlanBytes, device: Device, image: Array) -> Iterator[Bench]:
    """Give the bench of a plan for one batch, warm."""
    with ExitStack() as stack:
        engine = stack.enter_context(
            TensorRtEngine(source.plan, source.facts, device, RingSettings(), source.kernels)
        )
        stack.enter_context(device.current())
        plan = Plan(source.plan, source.facts, source.kernels)
        stack.callback(plan.close)
        ceilings = stack.enter_context(Ceilings(device, plan, image, SLOTS))
        bench = Bench(engine, ceilings, image)
        bench.ring(3 * SLOTS)
        bench.times.clear()
        yield bench


@contextmanager
def open_bench(bundle: Bundle, precision: str, images: Sequence[Pixels]) -> Iterator[Bench]:
    """Give the bench of the plan in the cache that covers a batch; PlanError where none does."""
    image = ready(images, bundle.spec.input_type)
    source = plan_source(bundle, precision)
    shape: Any = image.shape[:3]
    record = find(source.cache, source.wanted, shape)
    recipe = record.recipe
    facts = PlanFacts(recipe.flavour, recipe.version, record.build_line(str(bundle.path)))
    plan = PlanBytes(
        source.cache.read(record, str(bundle.path)), facts, read_kernels(source.cache, record)
    )
    with bench_of(plan, CudaDevice(), image) as bench:
        yield bench
