"""The scripts of examples/embed, which are no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EMBED = Path(__file__).parents[2] / "examples" / "embed"


def script(name: str) -> ModuleType:
    """Return a script as a module, run once."""
    label = f"embed_{name}"
    if label not in sys.modules:
        spec = importlib.util.spec_from_file_location(label, EMBED / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[label] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[label])
    return sys.modules[label]
