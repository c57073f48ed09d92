"""Graphs that OpenVINO compiled, kept for the next process: ``KEY.blob``, its sha256 in front.

Below FOVEATE_CACHE, else in the user's cache folder, beside the plans of TensorRT. OpenVINO's own
cache would write under the final name, where a second process may read half a file.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.cache import cache_folder

MOST = 16
"""Files that are kept: each is one or two times as large as its graph. The oldest goes first."""
_DIGEST = 32


def kept(key: str) -> bytes | None:
    """Return what is kept under a key; None where it is missing or damaged."""
    with suppress(OSError):
        content = _path(key).read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return content[_DIGEST:]
    return None


def keep(key: str, content: bytes) -> None:
    """Keep something under a key. A folder that cannot be written only costs the next start."""
    path = _path(key)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, lambda file: file.write(hashlib.sha256(content).digest() + content))
        by_age = sorted(path.parent.glob("*.blob"), key=lambda item: item.stat().st_mtime)
        for old in by_age[:-MOST]:
            old.unlink()


def _path(key: str) -> Path:
    return cache_folder("openvino") / f"{key}.blob"
