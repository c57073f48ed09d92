"""Which kind of machine this is: a Jetson, or any other."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
JETPACKS = {36: 6, 38: 7, 39: 7}
"""Major release of Jetson Linux -> of JetPack. Nothing is said of a release that is not here."""


@dataclass(frozen=True)
class Jetson:
    """A Jetson. ``model`` and ``release`` (of Jetson Linux, 36.4.3) are empty where unknown."""

    model: str
    release: str

    @property
    def jetpack(self) -> int | None:
        """The major release of JetPack, None where unknown."""
        return JETPACKS.get(int(self.release.split(".")[0])) if self.release else None

    def __str__(self) -> str:
        linux = f"Jetson Linux {self.release}" if self.release else ""
        jetpack = f"JetPack {self.jetpack}" if self.jetpack else ""
        return ", ".join(part for part in (self.model or "Jetson", linux, jetpack) if part)


def jetson(root: Path = ROOT, architecture: str = "") -> Jetson | None:
    """Return the Jetson that this is, or None.

    ``architecture`` is this machine's unless given. A container has the model, and often no
    release.
    """
    if (architecture or platform.machine()) != "aarch64":
        return None
    release = _text(root / "etc" / "nv_tegra_release")
    model = _text(root / "proc" / "device-tree" / "model")
    if not release and "NVIDIA" not in model:
        return None
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return Jetson(model, ".".join(found.groups()) if found else "")


def _text(path: Path) -> str:
    """Return a small text file without the zero byte that device trees end in; "" if not there."""
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
