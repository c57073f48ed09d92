"""``foveate segment --ray``: the items of a run dealt out to actors by Ray Data.

Each actor holds one Cascade on a GPU or on a share of the cores, and writes its masks into the
folder itself, which every machine must reach under the same path. The lines come back to the one
process that keeps the journal. An actor that is lost is started again and its items are done again,
which changes nothing: a mask is renamed over itself.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from foveate.runtime.cascade import Cascade
from foveate.runtime.choice import Choice
from foveate.runtime.crew import Crew
from foveate.runtime.engines import PLANNED
from foveate.runtime.errors import EngineError, FoveateError
from foveate.runtime.inputs import Item
from foveate.runtime.item_worker import Failure, ItemWorker, Written
from foveate.runtime.outputs import OutputSettings
from foveate.runtime.work_plan import Wish, plan_for

LOCAL = "local"
"""The address of this machine alone."""
ITEMS_A_TASK = 32
CORES_AN_ACTOR = 4
"""An actor without a GPU has so many cores, a worker each; the network's weights are held once."""
MANY = 1 << 30
GPU_ENGINES = (PLANNED, "onnxruntime-cuda")


@dataclass(frozen=True)
class ActorJob:
    """What every actor does: a bundle's cascade, settled, and where its masks go.

    ``bundle`` and ``out`` are absolute paths, the same on every machine.
    """

    bundle: str
    choice: Choice
    out: str
    outputs: OutputSettings
    batch: int
    threads: int


class SegmentActor:
    """Called by Ray Data with batches of items; returns a line of JSON for each."""

    def __init__(self, job: ActorJob, cores: int) -> None:
        cv2.setNumThreads(1)
        choice = job.choice
        self._cascade = Cascade.load(job.bundle, choice.engine, choice.precision, job.threads)
        self._plan = plan_for(self._cascade, Wish(0, job.batch, job.threads), MANY, cores)
        self._worker = ItemWorker(self._cascade, job.outputs, Path(job.out), self._plan)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        rows = [json.loads(str(text)) for text in batch["item"]]
        given = {row["path"]: row["given"] for row in rows}
        items = [Item(Path(row["path"]), row["name"], row["page"]) for row in rows]
        done = Crew(self._worker, self._plan.workers, threading.Event()).run(items)
        return {"done": [json.dumps(_as_json(one, given)) for one in done]}


def ray_outcomes(
    address: str, job: ActorJob, items: Sequence[Item], actors: int
) -> Generator[Written | Failure, None, None]:
    """Yield what became of every item, in the order of ending.

    ``address`` is a cluster's, or "local" for this machine; ``actors`` 0 takes one for every GPU,
    or for every four cores. EngineError when Ray is missing, its cluster cannot be reached, or an
    actor cannot do its work.
    """
    ray = _ray()
    _connect(ray, address)
    gpu = job.choice.engine in GPU_ENGINES
    there = ray.cluster_resources()
    most = int(there.get("GPU" if gpu else "CPU", 0))
    if not most:
        raise EngineError(f"the Ray cluster at {address} has no {'GPU' if gpu else 'CPU'}")
    size = min(actors or -(-most // (1 if gpu else CORES_AN_ACTOR)), len(items), most)
    cores = max(1, int(there.get("CPU", 1)) // size)
    data = ray.data.from_items([{"item": json.dumps(_plain(item))} for item in items])
    tasks = max(size, -(-len(items) // ITEMS_A_TASK))
    done = data.repartition(tasks).map_batches(
        SegmentActor,
        fn_constructor_args=(job, cores),
        batch_size=ITEMS_A_TASK,
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=cores,
        **({"num_gpus": 1} if gpu else {}),
    )
    try:
        for row in done.iter_rows():
            yield _from_json(json.loads(row["done"]))
    except ray.exceptions.RayError as error:
        raise _cause(error) from error
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--ray needs Ray ({error}): pip install 'foveate[ray]'") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    """Join the cluster, or start one on this machine; its progress lines are left to ours."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        ray.init(
            address=None if address == LOCAL else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == LOCAL else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(f"--ray {address}: {error}") from error


def _cause(error: Exception) -> FoveateError:
    """Return what an actor raised as an error of ours, without Ray's pages about it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, FoveateError):
        return cause
    last = str(error).strip().splitlines()[-1:] or ["it does not say why"]
    return EngineError(f"Ray gave up: {last[0][:300]}")


def _plain(item: Item) -> dict[str, Any]:
    return {**asdict(item), "path": os.fspath(item.path.absolute()), "given": str(item.path)}


def _as_json(done: Written | Failure, given: dict[str, str]) -> dict[str, Any]:
    """Return what became of an item, its path as it was given."""
    values = asdict(done) | {"kind": type(done).__name__}
    where = values["line"] if isinstance(done, Written) else values
    where["input"] = given[where["input"]]
    return values


def _from_json(values: dict[str, Any]) -> Written | Failure:
    kinds = {"Written": Written, "Failure": Failure}
    made: Written | Failure = kinds[values.pop("kind")](**values)
    return made
