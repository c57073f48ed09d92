"""Locate this user's cache: below FOVEATE_CACHE, XDG_CACHE_HOME or ~/.cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the folder of one kind of kept files; it need not be there."""
    own = os.environ.get("FOVEATE_CACHE")
    if own:
        return Path(own) / name
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "foveate" / name
