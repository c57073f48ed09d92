"""The files of a data set: one image each, or as many as a NIfTI or DICOM volume has slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from foveate.runtime.errors import DataError
from foveate.runtime.io.formats.headers import may_have_slices
from foveate.runtime.io.formats.volumes import frame_count
from foveate.runtime.io.images import by_stem, image_paths


class ImageFile(NamedTuple):
    """Where an image is: a file, and the slice in it, from 1; 0 where it is the only one."""

    path: Path
    page: int = 0


Files = dict[str, ImageFile]
Volumes = Mapping[str, Sequence[str]]


def find_files(folder: Path) -> tuple[Files, Volumes]:
    """Return the images of a folder and its volumes.

    DataError where two have one stem, or a name is not text: lists and runs hold names as UTF-8.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; expected DATA/images and DATA/masks"
            f"{_folders(folder.parent)}"
        )
    grouped = by_stem(image_paths(folder))
    unreadable = sorted(repr(stem) for stem in grouped if not _is_text(stem))
    if unreadable:
        raise DataError(
            f"{folder}: file names are not UTF-8: {some_of(unreadable)}. Rename them; where they "
            "are, set PYTHONUTF8=1"
        )
    twins = sorted(stem for stem, paths in grouped.items() if len(paths) > 1)
    if twins:
        raise DataError(f"{folder}: more than one file for the stem {some_of(twins)}")
    return _slices_of({stem: paths[0] for stem, paths in grouped.items()})


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folders(root: Path) -> str:
    """Return words for the folders that are there instead, "" where there are none."""
    there = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not there:
        return ""
    return f". {root} has {some_of(there)}; other names are set by image_dir_name, mask_dir_name"


def _slices_of(files: Mapping[str, Path]) -> tuple[Files, Volumes]:
    """Return the images of files by their stems, and the stems of every volume's slices.

    A slice of the volume ``scan`` is called ``scan.p1``, as its mask is by ``foveate segment``.
    DataError where a file is called so too.
    """
    images: Files = {}
    volumes: dict[str, list[str]] = {}
    for stem, path in files.items():
        count = frame_count(path) if may_have_slices(path.name) else 1
        names = [stem] if count == 1 else [f"{stem}.p{page}" for page in range(1, count + 1)]
        if count > 1:
            volumes[stem] = names
        for page, name in enumerate(names, int(count > 1)):
            if name in images:
                raise DataError(f"{path.parent}: more than one image for the stem {name}")
            images[name] = ImageFile(path, page)
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


def some_of(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
