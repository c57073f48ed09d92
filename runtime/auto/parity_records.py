"""Whether an engine of a CPU gives the right masks here: the record of ``benchmark parity``.

It counts for one graph, one precision, one processor and one version of the engine, and lies in
the user's cache: ``cpu/KEY.parity.json``.
"""

from __future__ import annotations

from pathlib import Path

from foveate.runtime.auto.cpu_environment import CpuPlace
from foveate.runtime.auto.mask_parity import MASK_SHAPE, OWN_HASH, MaskParity
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.cache import cache_folder
from foveate.runtime.engines.tensorrt.plan_record import graph_of
from foveate.runtime.json_files import canonical_sha256, read_signed, write_signed

FEWEST = 8
"""Images with foreground from which a record speaks for masks that nobody looked at."""


class EngineParity(MaskParity):
    """What ``benchmark parity`` found of an engine with a precision on a data set."""

    @property
    def proves(self) -> bool:
        """Whether ``auto`` may take it: bounds kept, on enough images that have foreground."""
        return self.held and self.foreground_images >= FEWEST

    @property
    def _foreground(self) -> str:
        few = "" if self.foreground_images >= FEWEST else f", too few: {FEWEST} are wanted"
        return super()._foreground + few


def write_engine_parity(path: Path, parity: EngineParity) -> None:
    """Write what was found in place of what was found before. Raises OSError."""
    write_signed(path, parity.record(), OWN_HASH)


def read_engine_parity(path: Path) -> EngineParity | None:
    """Return what was found, None where nothing was; BundleError when it is not as written."""
    if not path.is_file():
        return None
    made_by = "the parity record of an engine, written by foveate benchmark parity"
    values = read_signed(path, made_by, OWN_HASH, MASK_SHAPE)
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
