"""The files of a data set: one image each, or as many as a NIfTI or DICOM volume has slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from foveate.runtime.io.formats.volumes import frame_count


class ImageFile(NamedTuple):
    """Where an image is: a file, and the slice in it, from 1; 0 where it is the only one."""

    path: Path
    page: int = 0


Files = dict[str, ImageFile]
Volumes = Mapping[str, Sequence[str]]


def slices_of(files: Mapping[str, Path]) -> tuple[Files, Volumes]:
    """Return the images of files by their stems, and the stems of every volume's slices.

    A slice of the volume ``scan`` is called ``scan.p1``, as its mask is by ``foveate segment``.
    """
    images: Files = {}
    volumes: dict[str, list[str]] = {}
    for stem, path in files.items():
        count = frame_count(path)
        if count == 1:
            images[stem] = ImageFile(path)
            continue
        volumes[stem] = [f"{stem}.p{page}" for page in range(1, count + 1)]
        images |= {name: ImageFile(path, page) for page, name in enumerate(volumes[stem], 1)}
    return images, volumes


def with_slices(stems: Iterable[str], volumes: Volumes) -> tuple[str, ...]:
    """Return stems, of a volume those of its slices."""
    return tuple(name for stem in stems for name in volumes.get(stem, (stem,)))


def groups_of_slices(groups: Mapping[str, str], volumes: Volumes) -> dict[str, str]:
    """Return the group of every stem; the slices of a volume stay together."""
    found = dict(groups)
    for volume, names in volumes.items():
        found |= {name: groups.get(name, groups.get(volume, volume)) for name in names}
    return {stem: group for stem, group in found.items() if stem not in volumes}
