"""Read and write the records of ``benchmark parity``: may ``auto`` trust the masks of an engine?

A record of a CPU engine counts for one graph, precision, processor and engine version; it lies in
the user's cache as ``cpu/KEY.parity.json``. A record of a TensorRT plan lies next to the plan.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import cache_folder
from foveate.runtime.engines.cuda.query import Gpu
from foveate.runtime.engines.hardware import CpuEnvironment
from foveate.runtime.json_files import canonical_sha256, read_signed, write_signed
from foveate.runtime.spec import graph_of

if TYPE_CHECKING:
    from foveate.runtime.agreement import Disagreement
    from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
    from foveate.runtime.engines.tensorrt.plan_record import PlanRecord

T = TypeVar("T", bound="MaskParity")
MIN_IMAGES = 8
"""Images with foreground that a record needs before ``auto`` trusts unseen masks."""
OWN_HASH = "parity_sha256"
SUFFIX = ".parity.json"
MASK_SHAPE = {
    "data": str,
    "images": int,
    "foreground_images": int,
    "reference": str,
    "disagreement": float,
    "held": bool,
    "created": str,
}
"""The fields of every record, for ``json_files.check_shape``; ``dice_change`` may be null."""
PLAN_SHAPE = {
    "plan_sha256": str,
    "version": str,
    "gpu": {"name": str, "sm": str},
    **MASK_SHAPE,
}


@dataclass(frozen=True)
class MaskParity:
    """How masks differ from the reference's on a data set.

    ``disagreement`` is pooled over ``images``, of which ``foreground_images`` have foreground in
    one of the two masks; ``dice_change`` is None without truth. ``held``: both were within the
    bounds of the precision. ``created`` is set when the record is written.
    """

    data: str
    images: int
    foreground_images: int
    reference: str
    disagreement: float
    dice_change: float | None
    held: bool
    created: str = ""

    @classmethod
    def of(
        cls: type[T], total: Disagreement, precision: str, data: str, reference: str, **more: Any
    ) -> T:
        """Return the record of a total; ``more`` are the fields that a subclass adds."""
        return cls(
            data=data,
            images=len(total.pairs),
            foreground_images=sum(pair.union > 0 for pair in total.pairs),
            reference=reference,
            disagreement=total.value,
            dice_change=total.dice_change,
            held=total.held(precision),
            **more,
        )

    def __str__(self) -> str:
        bounds = "within" if self.held else "OUTSIDE"
        return (
            f"disagreement {self.disagreement:.6f}, {bounds} its bounds, on {self.images} images "
            f"of {self.data} ({self._foreground}) against {self.reference}"
        )

    @property
    def _foreground(self) -> str:
        return f"{self.foreground_images} with foreground"

    def record(self) -> dict[str, Any]:
        """Return the values to write, with the current time."""
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {**asdict(self), "created": created}


class EngineParity(MaskParity):
    """The parity of a CPU engine with a precision on a data set."""

    @property
    def proves(self) -> bool:
        """Whether ``auto`` may use it: within the bounds, on enough images with foreground."""
        return self.held and self.foreground_images >= MIN_IMAGES

    @property
    def _foreground(self) -> str:
        few = "" if self.foreground_images >= MIN_IMAGES else f", {MIN_IMAGES} are required"
        return super()._foreground + few


@dataclass(frozen=True, kw_only=True)
class PlanParity(MaskParity):
    """The parity of a TensorRT plan on a GPU; ``version`` is of the TensorRT that ran it."""

    plan_sha256: str
    version: str
    gpu: Gpu

    @property
    def proves(self) -> bool:
        """Whether ``auto`` may use the plan: within the bounds, and not on empty masks only."""
        return self.held and self.foreground_images > 0


def write_engine_parity(path: Path, parity: EngineParity) -> None:
    """Write a record, replacing an earlier one. Raises OSError."""
    write_signed(path, parity.record(), OWN_HASH)


def read_engine_parity(path: Path) -> EngineParity | None:
    """Return a record, None if there is none; BundleError if the file was changed."""
    if not os.path.isfile(path):
        return None
    made_by = "the parity record of an engine, written by foveate benchmark parity"
    values = read_signed(path, made_by, OWN_HASH, MASK_SHAPE)
    return EngineParity(**{name: values.get(name) for name in EngineParity.__dataclass_fields__})


def parity_path(bundle: Bundle, here: CpuEnvironment, engine: str, precision: str) -> Path:
    """Return the file of the record of an engine installed here."""
    return record_path(bundle, here, engine, precision, SUFFIX)


def record_path(
    bundle: Bundle, here: CpuEnvironment, engine: str, precision: str, suffix: str
) -> Path:
    """Return the file of what is recorded of an engine installed here with a graph."""
    facts = {
        "graph_sha256": bundle.graph_sha256(graph_of(precision)),
        "precision": precision,
        "engine": engine,
        "version": here.versions[engine],
        "processor": [here.processor.name, *here.processor.flags],
    }
    return cache_folder("cpu") / f"{canonical_sha256(facts)}{suffix}"


def write_parity(cache: PlanCache, record: PlanRecord, parity: PlanParity) -> None:
    """Write the record of a plan next to it, replacing an earlier one."""
    write_signed(cache.path(record.key, SUFFIX), parity.record(), OWN_HASH)


def read_parity(cache: PlanCache, record: PlanRecord, version: str, gpu: Gpu) -> PlanParity | None:
    """Return the record of a plan on this GPU and TensorRT, None if there is none.

    Raises BundleError if the file was changed.
    """
    path = cache.path(record.key, SUFFIX)
    if not path.is_file():
        return None
    made_by = "the parity record of a plan, written by foveate benchmark parity"
    values = read_signed(path, made_by, OWN_HASH, PLAN_SHAPE)
    found = {name: values.get(name) for name in PlanParity.__dataclass_fields__}
    parity = PlanParity(**{**found, "gpu": Gpu(values["gpu"]["name"], values["gpu"]["sm"])})
    here = (record.plan_sha256, version, gpu)
    return parity if (parity.plan_sha256, parity.version, parity.gpu) == here else None
