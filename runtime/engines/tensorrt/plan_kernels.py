"""The kernels that TensorRT-RTX compiled for a plan, kept beside it for the next process.

``KEY.kernels`` is the sha256 of what follows it, then the bytes that RTX gave. RTX itself refuses
kernels of another GPU or version; a damaged file is passed over, and the kernels compiled again.
"""

from __future__ import annotations

import hashlib

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.engines.tensorrt.plan_cache import PlanCache
from foveate.runtime.engines.tensorrt.plan_record import PlanRecord

SUFFIX = ".kernels"
_DIGEST_BYTES = 32


def read_kernels(cache: PlanCache, record: PlanRecord) -> bytes:
    """Return the kernels kept for a plan; nothing when there are none or they are damaged."""
    path = cache.path(record.key, SUFFIX)
    try:
        data = b"" if path.is_symlink() else path.read_bytes()
    except OSError:
        return b""
    digest, kernels = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return kernels if hashlib.sha256(kernels).digest() == digest else b""


def write_kernels(cache: PlanCache, record: PlanRecord, kernels: bytes) -> None:
    """Keep the kernels of a plan that is still in the cache."""
    if cache.path(record.key, ".plan").is_file():
        content = hashlib.sha256(kernels).digest() + kernels
        write_atomically(cache.path(record.key, SUFFIX), lambda file: file.write(content))
