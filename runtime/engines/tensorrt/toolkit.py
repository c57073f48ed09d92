"""Find the installed TensorRT, the full one or TensorRT-RTX; imported on demand."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from foveate.runtime.errors import EngineError


@dataclass(frozen=True)
class Flavour:
    """One of the two TensorRTs: its name, and the extra that installs it."""

    name: str
    extra: str

    @property
    def install_line(self) -> str:
        return f"pip install 'foveate[{self.extra}]'"


FLAVOURS = {
    "tensorrt": Flavour("TensorRT", "tensorrt"),
    "tensorrt_rtx": Flavour("TensorRT-RTX", "rtx"),
}
"""Module -> flavour. If both are installed, the full one is used."""


@dataclass(frozen=True)
class Toolkit:
    """An installed TensorRT. ``flavour`` is the name of ``module``."""

    flavour: str
    version: str
    module: Any

    @property
    def rtx(self) -> bool:
        return self.flavour == "tensorrt_rtx"

    def __str__(self) -> str:
        return f"{FLAVOURS[self.flavour].name} {self.version}"


def installed_toolkits() -> list[Toolkit]:
    """Return every TensorRT that can be imported, the preferred one first."""
    found = []
    for flavour in FLAVOURS:
        try:
            module: Any = importlib.import_module(flavour)
            found.append(Toolkit(flavour, str(module.__version__), module))
        except (ImportError, OSError, AttributeError):  # not installed, or without its library
            continue
    return found


def toolkit() -> Toolkit:
    """Return the TensorRT to use; EngineError has the install commands."""
    found = installed_toolkits()
    if not found:
        raise EngineError(
            f"TensorRT is not installed: {FLAVOURS['tensorrt'].install_line}, or 'foveate[rtx]' "
            "for TensorRT-RTX, which builds plans without a GPU"
        )
    return found[0]
