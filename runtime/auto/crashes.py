"""Know which engines crash here: some did in the child that timed them, others by public reports.

A record counts for one graph, precision, processor and engine version, as one of parity does.
"""

from __future__ import annotations

import os
import re

from foveate.runtime.auto.parity_records import record_path
from foveate.runtime.bundle.bundle import Bundle
from foveate.runtime.engines.hardware import CpuEnvironment
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import read_signed, write_signed

SUFFIX = ".crash.json"
OWN_HASH = "crash_sha256"
_SHAPE = {"engine": str, "precision": str, "version": str, "how": str}
KNOWN = {
    ("openvino", "int8"): (
        r"openvino-2026\.[123]\b.*",
        "amx_int8",
        "https://github.com/openvinotoolkit/openvino/issues/37577",
    ),
}
"""Engine and precision -> versions, as a pattern, and flag of the processor that crash; report."""


def crash_reason(bundle: Bundle, here: CpuEnvironment, engine: str, precision: str) -> str:
    """Return how an engine that is installed crashes with a bundle here, empty if it is not known.

    A damaged record counts for nothing.
    """
    version = here.versions[engine]
    versions, flag, report = KNOWN.get((engine, precision), ("", "", ""))
    if flag in here.processor.flags and re.fullmatch(versions, version):
        return f"{version} crashes with {precision} on this processor ({report})"
    path = record_path(bundle, here, engine, precision, SUFFIX)
    try:
        values = read_signed(path, "a crash", OWN_HASH, _SHAPE) if os.path.isfile(path) else None
    except BundleError:
        return ""
    return f"{version} {values['how']} here; to try again remove {path}" if values else ""


def store_crash(
    bundle: Bundle, here: CpuEnvironment, engine: str, precision: str, how: str
) -> None:
    """Record a crash; ``how`` follows the name of the engine in a sentence. Raises OSError."""
    path = record_path(bundle, here, engine, precision, SUFFIX)
    facts = {"engine": engine, "precision": precision, "version": here.versions[engine]}
    write_signed(path, {**facts, "how": how}, OWN_HASH)
