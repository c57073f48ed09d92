"""Whether a plan gives the right masks on a GPU: the record of ``benchmark parity`` beside it.

``KEY.parity.json`` lies in the cache of plans and counts for one plan, one GPU and one version of
the TensorRT that ran it. It does not travel with a plan that is exported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foveate.runtime.auto.mask_parity import MASK_SHAPE, OWN_HASH, MaskParity
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import Gpu, PlanRecord
from foveate.runtime.json_files import read_signed, write_signed

SUFFIX = ".parity.json"
_SHAPE = {
    "plan_sha256": str,
    "version": str,
    "gpu": {"name": str, "sm": str},
    **MASK_SHAPE,
}


@dataclass(frozen=True, kw_only=True)
class PlanParity(MaskParity):
    """What ``benchmark parity`` found of a plan on a GPU.

    ``version`` is that of the TensorRT which ran it.
    """

    plan_sha256: str
    version: str
    gpu: Gpu

    @property
    def proves(self) -> bool:
        """Whether the plan may be chosen for its masks: bounds kept, and not on empty masks."""
        return self.held and self.foreground_images > 0


def write_parity(cache: PlanCache, record: PlanRecord, parity: PlanParity) -> None:
    """Write what was found beside the plan, in place of what was found before."""
    write_signed(cache.path(record.key, SUFFIX), parity.record(), OWN_HASH)


def read_parity(cache: PlanCache, record: PlanRecord, version: str, gpu: Gpu) -> PlanParity | None:
    """Return what was found of a plan on this GPU by this TensorRT; None where nothing was.

    BundleError when the file is not as it was written.
    """
    path = cache.path(record.key, SUFFIX)
    if not path.is_file():
        return None
    made_by = "the parity record of a plan, written by foveate benchmark parity"
    found = _parity(read_signed(path, made_by, OWN_HASH, _SHAPE))
    here = (record.plan_sha256, version, gpu)
    return found if (found.plan_sha256, found.version, found.gpu) == here else None


def _parity(values: dict[str, Any]) -> PlanParity:
    names = PlanParity.__dataclass_fields__
    gpu = Gpu(values["gpu"]["name"], values["gpu"]["sm"])
    return PlanParity(**{name: values.get(name) for name in names} | {"gpu": gpu})  # type: ignore[arg-type]
