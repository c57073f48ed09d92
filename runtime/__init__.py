"""The runtime: a bundle becomes masks.

Needs numpy, OpenCV, Pillow and one engine; never torch or onnx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from foveate.runtime.errors import FoveateError

if TYPE_CHECKING:
    from foveate.runtime.cascade.cascade import Cascade
    from foveate.runtime.cascade.decision import Decision
    from foveate.runtime.io.images import read_image
    from foveate.runtime.io.png import write_mask
    from foveate.runtime.result import Result

__all__ = ["Cascade", "Decision", "FoveateError", "Result", "read_image", "write_mask"]
_MODULES = {
    "Cascade": "cascade.cascade",
    "Decision": "cascade.decision",
    "Result": "result",
    "read_image": "io.images",
    "write_mask": "io.png",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that importing this package stays light."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, so that completion finds them before they are loaded."""
    return sorted(__all__)
