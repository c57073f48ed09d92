"""Whether an engine of a CPU gives the right masks here: the record of ``benchmark parity``.

It counts for one graph, one precision, one processor and one version of the engine, and lies in
the user's cache: ``cpu/KEY.parity.json``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from foveate.runtime.bundle import Bundle
from foveate.runtime.cache_folder import cache_folder
from foveate.runtime.cpu_place import CpuPlace
from foveate.runtime.hashes import canonical_sha256
from foveate.runtime.plan_record import graph_of
from foveate.runtime.signed_json import read_signed, write_signed

OWN_HASH = "parity_sha256"
FEWEST = 8
"""Images with foreground from which a record speaks for masks that nobody looked at."""
_SHAPE = {
    "data": str,
    "images": int,
    "foreground_images": int,
    "reference": str,
    "disagreement": float,
    "held": bool,
    "created": str,
}


@dataclass(frozen=True)
class EngineParity:
    """What ``benchmark parity`` found of an engine with a precision on a data set.

    ``disagreement`` is pooled over ``images``, of which ``foreground_images`` have foreground in
    one of the two masks; ``dice_change`` is None without truth. ``held`` says that both were
    inside the bounds of the precision.
    """

    data: str
    images: int
    foreground_images: int
    reference: str
    disagreement: float
    dice_change: float | None
    held: bool
    created: str = ""

    @property
    def proves(self) -> bool:
        """Whether ``auto`` may take it: bounds kept, on enough images that have foreground."""
        return self.held and self.foreground_images >= FEWEST

    def __str__(self) -> str:
        kept = "inside" if self.held else "OUTSIDE"
        few = "" if self.foreground_images >= FEWEST else f", too few: {FEWEST} are wanted"
        return (
            f"disagreement {self.disagreement:.6f}, {kept} its bounds, on {self.images} images of "
            f"{self.data} ({self.foreground_images} with foreground{few}) against {self.reference}"
        )


def write_engine_parity(path: Path, parity: EngineParity) -> None:
    """Write what was found in place of what was found before. Raises OSError."""
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_signed(path, {**asdict(parity), "created": created}, OWN_HASH)


def read_engine_parity(path: Path) -> EngineParity | None:
    """Return what was found, None where nothing was; BundleError when it is not as written."""
    if not path.is_file():
        return None
    made_by = "the parity record of an engine, written by foveate benchmark parity"
    values = read_signed(path, made_by, OWN_HASH, _SHAPE)
    return EngineParity(**{name: values.get(name) for name in EngineParity.__dataclass_fields__})


def parity_path(bundle: Bundle, here: CpuPlace, engine: str, precision: str) -> Path:
    """Return the file of the record of an engine that is installed here."""
    facts = {
        "graph_sha256": bundle.graph_sha256(graph_of(precision)),
        "precision": precision,
        "engine": engine,
        "version": here.versions[engine],
        "processor": [here.processor.name, *here.processor.flags],
    }
    return cache_folder("cpu") / f"{canonical_sha256(facts)}.parity.json"
