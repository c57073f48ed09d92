"""Which files to segment, and what each mask will be called."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foveate.runtime.errors import SettingsError
from foveate.runtime.image_files import image_paths

OVERLAYS = "overlays"
"""Folder in ``--out`` that holds the pictures of masks and boxes."""


@dataclass(frozen=True)
class Item:
    """One image to segment and the file name of its mask."""

    path: Path
    mask_name: str


def find_items(inputs: Sequence[str], out: Path) -> list[Item]:
    """Return the images that files, folders and globs name, each once, with a mask name each.

    A folder gives the images directly inside it. A mask is called by the image's stem; where two
    images share a stem, by their full names (``a.jpg.png``). SettingsError when nothing is found,
    when two images have one name, or when masks would be written among the images.
    """
    paths = list(dict.fromkeys(path for text in inputs for path in _expand(text, out)))
    if not paths:
        raise SettingsError(
            f"no images found in {', '.join(inputs)}; wanted image files, folders of them "
            "(their subfolders are not searched) or globs"
        )
    among = sorted({str(path.parent) for path in paths if _is_output(path.parent, out)})
    if among:
        raise SettingsError(
            f"--out {out} is the folder of the images {among[0]}; masks would overwrite them. "
            "Choose another folder"
        )
    return [Item(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _expand(text: str, out: Path) -> Iterable[Path]:
    """Return what one argument names; a glob passes over the masks of an earlier run in ``out``."""
    path = Path(text)
    if path.is_dir():
        return image_paths(path)
    if path.exists() or not glob.has_magic(text):
        return [path]
    matches = (Path(match) for match in sorted(glob.glob(text)))
    return [path for path in matches if not path.is_dir() and not _is_output(path.parent, out)]


def _is_output(folder: Path, out: Path) -> bool:
    """Say whether masks or overlays are written to a folder."""
    return folder.resolve() in (out.resolve(), (out / OVERLAYS).resolve())


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a mask name for every path; SettingsError names two that cannot be told apart."""
    short = [f"{path.stem}.png" for path in paths]
    counts: dict[str, int] = {}
    for name in short:
        counts[name.lower()] = counts.get(name.lower(), 0) + 1
    names = [
        f"{path.name}.png" if counts[name.lower()] > 1 else name
        for path, name in zip(paths, short, strict=True)
    ]
    seen: dict[str, Path] = {}
    for path, name in zip(paths, names, strict=True):
        if name.lower() in seen:
            raise SettingsError(
                f"{seen[name.lower()]} and {path} would both be written to {name}; "
                "segment them into two folders"
            )
        seen[name.lower()] = path
    return names
