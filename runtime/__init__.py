"""The runtime: a bundle becomes masks.

Needs numpy, OpenCV, Pillow and one engine; never torch or onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveate.runtime.errors import FoveateError

if TYPE_CHECKING:
    from foveate.runtime.cascade.cascade import Cascade
    from foveate.runtime.result import Result

__all__ = ["Cascade", "FoveateError", "Result"]


def __getattr__(name: str) -> Any:
    """Load the cascade when it is first asked for, so that importing this package stays light."""
    if name == "Cascade":
        from foveate.runtime.cascade.cascade import Cascade

        return Cascade
    if name == "Result":
        from foveate.runtime.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
