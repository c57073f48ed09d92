"""Training: a data set of images and masks becomes a run (PyTorch)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveate.train.settings.settings import Settings, load_settings
    from foveate.train.training import Run, train

__all__ = ["Run", "Settings", "load_settings", "train"]

_HOMES = {
    "Settings": "settings.settings",
    "load_settings": "settings.settings",
    "Run": "training",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for, so that importing this package stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"foveate.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
