"""Locate this user's cache, below FOVEATE_CACHE, XDG_CACHE_HOME or ~/.cache, and keep files in it.

Where it cannot be written, what is kept only to save time is made anew by every process.
A kept file is the sha256 of what follows it, then the bytes: damage is found when it is read.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from foveate.runtime.atomic_files import write_atomically

PLANS = "plans"
"""The folder of TensorRT plans."""
_DIGEST_BYTES = 32


def cache_folder(name: str) -> Path:
    """Return the folder of one kind of cached files; it need not exist, and may not be writable."""
    own = os.environ.get("FOVEATE_CACHE")
    if own:
        return Path(own) / name
    base = os.environ.get("XDG_CACHE_HOME") or _home_cache()
    return Path(base) / "foveate" / name


def _home_cache() -> Path:
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # no HOME, and a user of whom the system knows no more than the number
        return Path(os.devnull)


def read_checked(path: Path) -> bytes | None:
    """Return what ``write_checked`` wrote; None where it is missing, damaged or a link."""
    try:
        if path.is_symlink():
            return None
        with path.open("rb", buffering=0) as file:  # no second copy of 30 MB
            digest, content = file.read(_DIGEST_BYTES), file.readall()
    except OSError:
        return None
    return content if hashlib.sha256(content).digest() == digest else None


def write_checked(path: Path, content: bytes) -> None:
    """Write bytes with their sha256 in front. Raises OSError."""
    write_atomically(path, hashlib.sha256(content).digest() + content)
