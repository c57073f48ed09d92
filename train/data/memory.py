"""How much memory this process may still take: the machine's, or its container's."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the part of the use that the kernel gives back: of cgroup v2, and of v1."""


def available_bytes() -> int:
    """Return the bytes that can be had without swapping, limits of containers included."""
    free = [int(psutil.virtual_memory().available)]
    for folder in cgroup_folders(CGROUPS, MEMBERSHIP):
        for names in FILES:
            free += _left(folder, *names)
    return max(0, min(free))


def cgroup_folders(root: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's memory groups and of all that they lie in."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # no Linux
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        own = top / path.strip("/")
        found += [own, *(parent for parent in own.parents if parent.is_relative_to(top))]
    return found


def _left(folder: Path, limit: str, use: str, returned: str) -> list[int]:
    """Return what a group has left, nothing where it has no limit or is not to be seen."""
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / use).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return []
    if most == "max":
        return []
    given_back = sum(int(line.split()[1]) for line in lines if line.split()[0] == returned)
    return [int(most) - used + given_back]
