"""Images per second from arrays to masks when all cores are busy, beside the bare engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from foveate.benchmarks.measure.baseline import BareCall, Contender, ready
from foveate.benchmarks.measure.saturation import saturated_rate
from foveate.benchmarks.measure.timing import interleaved, ratio
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.engines.base import Pixels

PAIRS = 5
"""Windows of each side in a cell of the grid."""
Worker = Callable[[int], int]


@dataclass(frozen=True)
class WorkerPool:
    """As many cascades and bare engines as there are workers, all with the same threads."""

    threads: int
    cascades: tuple[Cascade, ...]
    bare: tuple[BareCall, ...]


@contextmanager
def hired(contender: Contender, workers: int, cores: int) -> Iterator[WorkerPool]:
    """Give the crew of a number of workers, who share the cores; one thread each at least."""
    threads = max(1, cores // workers)
    with ExitStack() as stack:
        cascades = [stack.enter_context(contender.cascade(threads)) for _ in range(workers)]
        bare = [stack.enter_context(contender.bare(threads)) for _ in range(workers)]
        yield WorkerPool(threads, tuple(cascades), tuple(bare))


def grid(
    contender: Contender,
    images: Sequence[Pixels],
    batches: Sequence[int],
    workers: Sequence[int],
    cores: int,
    seconds: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return a row for every batch size and number of workers, as JSON values.

    Each worker has a cascade and a Python thread of its own and runs batches of the images, all
    of one shape. A cell measures for about ``seconds``, in windows, ours and the bare engine's by
    turns in the same threads; before that each side warms up for one window. ``share`` compares
    the windows of one round.
    """
    rows = []
    for count in workers:
        with hired(contender, count, cores) as crew:
            for batch in batches:
                rates = _cell_rates(crew, images, batch, seconds)
                rows.append(
                    {
                        "variant": contender.name,
                        "batch": batch,
                        "workers": count,
                        "threads": crew.threads,
                        "images_per_second": float(np.median(rates["ours"])),
                        "raw_images_per_second": float(np.median(rates["raw"])),
                        "share": asdict(ratio(rates["ours"], rates["raw"])),
                    }
                )
                progress(len(rows), len(workers) * len(batches))
    return rows


def best_cell(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row in which the bare engine is fastest."""
    return max(rows, key=lambda row: float(row["raw_images_per_second"]))


def _cell_rates(
    crew: WorkerPool, images: Sequence[Pixels], batch: int, seconds: float
) -> dict[str, list[float]]:
    """Return images per second of both sides, window by window."""
    sides = {"raw": raw_workers(crew, images, batch), "ours": _our_workers(crew, images, batch)}
    window = seconds / (2 * PAIRS)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for workers in sides.values():
        saturated_rate(workers, window)

    def measure(name: str, number: int) -> None:
        rates[name].append(saturated_rate(sides[name], window))

    interleaved({name: partial(measure, name) for name in sides}, PAIRS)
    return rates


def _our_workers(crew: WorkerPool, images: Sequence[Pixels], batch: int) -> list[Worker]:
    """Return workers that have a batch of arrays segmented by their own cascade."""
    batches = _batches(images, batch)

    def work(cascade: Cascade, offset: int, number: int) -> int:
        return len(cascade.batch(batches[(number + offset) % len(batches)]))

    return [partial(work, cascade, offset) for offset, cascade in enumerate(crew.cascades)]


def raw_workers(crew: WorkerPool, images: Sequence[Pixels], batch: int) -> list[Worker]:
    """Return workers that give their own bare engine batches that lie ready as its input."""
    input_type = crew.cascades[0].spec.input_type
    feeds = [ready(part, input_type) for part in _batches(images, batch)]

    def work(bare: BareCall, offset: int, number: int) -> int:
        bare(feeds[(number + offset) % len(feeds)])
        return batch

    return [partial(work, bare, offset) for offset, bare in enumerate(crew.bare)]


def _batches(images: Sequence[Pixels], batch: int) -> list[list[Pixels]]:
    """Return batches that hold every image at least once, starting over where they run out."""
    starts = range(0, len(images), batch)
    return [[images[(start + i) % len(images)] for i in range(batch)] for start in starts]
