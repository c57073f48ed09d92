"""Export: a trained run becomes a bundle, one fused ONNX graph per precision."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveate.export.importer import import_network
    from foveate.export.importing.description import ImportSettings

__all__ = ["ImportSettings", "import_network"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for, so that importing this package stays light."""
    if name in __all__:
        return getattr(importlib.import_module("foveate.export.importer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
