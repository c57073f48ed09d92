"""What parity found of each engine of a CPU, kept in the user's cache: ``auto`` goes by it."""

from __future__ import annotations

from foveate.benchmarks.measure.parity import Parity
from foveate.benchmarks.measure.targets import Variants
from foveate.runtime.auto.cpu_candidates import DEFAULT
from foveate.runtime.auto.parity_records import EngineParity, parity_path, write_engine_parity
from foveate.runtime.engines.hardware import cpu_environment


def write_engine_proofs(found: Variants, parity: Parity, data: str) -> list[str]:
    """Write the parity of every engine of a CPU into the cache; return it in words.

    ``data`` is the name of the data set. Phantoms drawn for the benchmark are none: a bundle may
    keep its masks on them and not on the images it was made for.
    """
    here, written = cpu_environment(), []
    for variant in found.cascades:
        if variant.engine not in here.versions or variant.name == DEFAULT.label:
            continue
        path = parity_path(found.bundle, here, variant.engine, variant.precision)
        total = parity.totals[variant.name]
        proof = EngineParity.of(total, variant.precision, data, parity.reference.name)
        write_engine_parity(path, proof)
        written.append(f"record of {variant.name} on this processor: {proof}")
    return written
