"""Images and masks at full size: in memory as far as it reaches, the rest decoded on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil

from foveate.runtime.cache import cache_folder
from foveate.runtime.io.images import Pixels
from foveate.train.data.dataset import DataSet
from foveate.train.data.masks import Contents, Mask
from foveate.train.data.pixel_file import PixelFile

SHARE = 0.5
"""Of the memory that is available, when cache_gb is 0: the networks and the views need some too."""
FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the part of the use that the kernel gives back: of cgroup v2, and of v1."""


@dataclass(frozen=True)
class CachePlan:
    """Which images are kept in memory, and how many bytes they and all of them have, decoded."""

    kept: frozenset[str]
    images: int
    kept_bytes: int
    total_bytes: int

    @property
    def words(self) -> str:
        """Say what is kept where."""
        total = size_words(self.total_bytes)
        if len(self.kept) == self.images:
            return f"Full images: all {self.images} are kept in memory, {total}."
        return (
            f"Full images: {len(self.kept)} of {self.images} are kept in memory, "
            f"{size_words(self.kept_bytes)} of {total}; the rest is decoded once and mapped from "
            f"disk, in {cache_folder('training')}."
        )


def plan_cache(contents: Mapping[str, Contents], cache_gb: float = 0.0) -> CachePlan:
    """Return what is kept in memory: in the order given, all that ``cache_gb`` 10^9 bytes hold.

    0: half of the memory that is available now. Processes that ``torchrun`` started on this machine
    have equal parts of it.
    """
    room = cache_gb * 1e9 if cache_gb else available_bytes() * SHARE
    room /= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    kept, used = set(), 0
    for stem, item in contents.items():
        if used + item.nbytes <= room:
            kept.add(stem)
            used += item.nbytes
    total = sum(item.nbytes for item in contents.values())
    return CachePlan(frozenset(kept), len(contents), used, total)


def size_words(count: float) -> str:
    """Return bytes in words: 312 MB, 2.0 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


class FullImages:
    """Images and masks at full size; each file is decoded once, by the first process that asks.

    What the plan does not keep in memory lies in a nameless file on disk and is mapped, so a crop
    reads no more than its own rows. Filled before the workers start, so that these share both.
    """

    def __init__(self, dataset: DataSet, cache_gb: float = 0.0) -> None:
        self.dataset = dataset
        self.plan = plan_cache(dataset.contents, cache_gb)
        self._owner = os.getpid()
        self._kept: dict[str, tuple[Pixels, Mask]] = {}
        rest = self.plan.total_bytes - self.plan.kept_bytes
        self._file = PixelFile(cache_folder("training"), rest) if rest else None

    def get(self, stem: str) -> tuple[Pixels, Mask]:
        """Return the image of a stem, as ``DataSet.image`` does, and its (H, W) uint8 mask."""
        if stem in self._kept:
            return self._kept[stem]
        filling = os.getpid() == self._owner  # what a worker adds, no other would see
        if self._file is not None and stem not in self.plan.kept and filling:
            self._write(self._file, stem)
        if self._file is not None and f"{stem}/mask" in self._file:
            image, mask = self._file.get(f"{stem}/image"), self._file.get(f"{stem}/mask")
            return cast(Pixels, image), cast(Mask, mask)
        pair = self.dataset.image(stem), self.dataset.mask(stem)
        if filling:
            self._kept[stem] = pair
        return pair

    def _write(self, file: PixelFile, stem: str) -> None:
        """Decode image and mask into the file, one after the other, so that one is in memory."""
        if f"{stem}/mask" not in file:
            file.add(f"{stem}/image", self.dataset.image(stem))
            file.add(f"{stem}/mask", self.dataset.mask(stem))


CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


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
