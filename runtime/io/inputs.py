"""Find the images to segment, and name the files written for each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.formats.headers import is_image_name, may_have_slices, stem_of
from foveate.runtime.io.formats.tiff.channel_pages import image_count
from foveate.runtime.io.formats.tiff.pages import SUFFIXES
from foveate.runtime.io.formats.volumes import frame_count
from foveate.runtime.io.output_settings import FOLDERS
from foveate.runtime.io.paths import (
    InputFile,
    images_in,
    listed_in,
    matches,
    names_on_stdin,
    not_of,
    stems_in,
    within,
)
from foveate.runtime.spec import GREY

_PAGE = re.compile(r"\.p\d+$")
SHOWN = 5
"""Inputs named in a message; there may be thousands."""


@dataclass(frozen=True)
class Item:
    """One image to segment.

    ``name`` is the path under OUT without a suffix, with "/" between folders; no two items have
    one, even where case does not count. ``page`` is a page of a TIFF of several, from 1, else 0.
    """

    path: Path
    name: str
    page: int = 0


def find_items(
    inputs: Sequence[str],
    out: Path,
    recursive: bool = False,
    listed: Callable[[], Iterable[str]] | None = None,
    stem_list: Path | None = None,
    channels: str = GREY,
) -> list[Item]:
    """Return the images that the inputs name, each once, and each page of a TIFF.

    So too each frame of DICOM and each slice of NIfTI; of several ``channels``, a page each is one
    image.

    An input is a file, a folder, a glob, ``-`` (the names that ``listed`` gives; without it, those
    on standard input) or ``@FILE``, a list of names. ``recursive`` also takes the folders below a
    folder, and keeps the tree in ``out``: from that folder on, from the first pattern of a glob,
    or from the deepest folder that has all files of a list.

    ``stem_list`` is a file of stems, one a line: of the images only those are taken, of ``scan.p2``
    page 2 of ``scan``. SettingsError names stems without an image.

    A name is the image's stem, ``stem.p2`` for page 2; where two images share it, their full names
    (``a.jpg``). SettingsError when nothing is found, when two images cannot be told apart, or when
    masks would be written among the images.
    """
    stems = [] if stem_list is None else stems_in(str(stem_list))
    stdin = cache(lambda: list((listed or names_on_stdin)()))
    found: list[InputFile] = []
    missed: list[InputFile] = []
    for text in inputs:
        new = list(_expanded(text, out, recursive, stdin))
        found += new
        if not new and _is_glob(text):
            missed.append(InputFile(Path(text)))  # it fails by name, and the others are written
    if not found:
        raise SettingsError(_nothing(inputs, out, recursive))
    if all(_is_missing(text) for text in inputs):
        raise SettingsError(f"{inputs[0]}: no such file or folder; check the path")
    found = _once(found + missed)
    if stem_list is not None:
        files = {_PAGE.sub("", stem) for stem in stems} | set(stems)
        found = [entry for entry in found if stem_of(entry.path) in files]
    _check_folders(found, out)
    items = _named(found, channels)
    return items if stem_list is None else _of_stems(items, stems, stem_list)


def _of_stems(items: Iterable[Item], stems: Sequence[str], source: Path) -> list[Item]:
    """Return the items that a list of stems names; SettingsError where a stem has none."""
    listed, met, kept = set(stems), set[str](), []
    for item in items:
        stem = stem_of(item.path)
        names = listed & {stem, f"{stem}.p{item.page}"}
        if names:
            met |= names
            kept.append(item)
    missing = sorted(listed - met)
    if missing:
        named = ", ".join(missing[:SHOWN]) + (", …" if len(missing) > SHOWN else "")
        hint = ""
        if os.path.dirname(missing[0]):
            hint = f"; a list of files is given as @{source}"
        elif is_image_name(missing[0]):
            hint = f". Stems have no suffix: {stem_of(Path(missing[0]))}"
        raise SettingsError(
            f"--list {source}: {len(missing)} of {len(listed)} stems have no image: {named}{hint}"
        )
    return kept


def items_of(entry: InputFile, channels: str) -> list[Item]:
    """Return each page of a file, named after its whole file name: ``a.jpg``, ``a.tif.p2``.

    So names are apart whatever files come later.
    """
    found, pages = [entry], [_pages(entry.path, channels)]
    return [Item(entry.path, name, page) for _, page, name in _names(found, pages, {0})]


def check_apart(folder: Path, out: Path) -> None:
    """Raise SettingsError when a folder that will be looked at again is OUT, or lies in it."""
    if os.path.realpath(folder) == os.path.realpath(out):
        raise SettingsError(_among(out, str(folder)))
    if within(os.path.realpath(folder), os.path.realpath(out)):
        raise SettingsError(
            f"--watch {folder} is inside --out {out}, whose files are never inputs; expected two "
            "folders, or --out inside the watched one"
        )


def is_kept_free(folder: str) -> bool:
    """Say whether a folder under OUT is, or lies in, one of ``FOLDERS``."""
    return folder.split("/")[0].lower() in FOLDERS


def _expanded(
    text: str, out: Path, recursive: bool, stdin: Callable[[], Sequence[str]]
) -> Iterable[InputFile]:
    """Return what one argument names."""
    if text == "-":
        if not stdin():
            raise SettingsError("- is standard input, and it is empty; expected one path a line")
        return not_of(out, stdin(), recursive)
    if os.path.isdir(text):
        if os.path.realpath(text) == os.path.realpath(out):
            raise SettingsError(_among(out, text))
        try:
            return list(images_in(text, out, recursive))
        except OSError:
            return [InputFile(Path(text))]  # it fails by name, and the others are written
    if os.path.exists(text):
        return [InputFile(Path(text))]
    if text.startswith("@"):
        return not_of(out, listed_in(text[1:]), recursive)
    return matches(text, out, recursive) if _is_glob(text) else [InputFile(Path(text))]


def _is_missing(text: str) -> bool:
    """Say whether an argument is a plain path where nothing is, not a list or a glob."""
    return text[:1] not in ("-", "@") and not glob.has_magic(text) and not os.path.lexists(text)


def _is_glob(text: str) -> bool:
    return text[:1] != "@" and glob.has_magic(text) and not os.path.exists(text)


def _nothing(inputs: Sequence[str], out: Path, recursive: bool) -> str:
    named = ", ".join(inputs[:SHOWN]) + (", …" if len(inputs) > SHOWN else "")
    below = "" if recursive else " (--recursive searches their subfolders too)"
    return (
        f"no images found in {named}; expected image files, folders of them{below}, globs, @LIST "
        f"or - for a list. Files in --out {out} are skipped"
    )


def _among(out: Path, folder: str) -> str:
    return (
        f"--out {out} is the folder of the images {folder}; masks would overwrite them. "
        "Choose another folder"
    )


def _once(found: Iterable[InputFile]) -> list[InputFile]:
    """Return every file once, whichever ways lead to its folder."""
    real = cache(os.path.realpath)
    unique: dict[tuple[str, str], InputFile] = {}
    for entry in found:
        folder, name = os.path.split(entry.path)
        unique.setdefault((real(folder or "."), name), entry)
    return list(unique.values())


def _check_folders(found: Iterable[InputFile], out: Path) -> None:
    """Raise SettingsError when something would be written to a folder of images, or read there."""
    to = os.path.realpath(out)
    kept = [os.path.join(to, name) for name in FOLDERS]
    written: dict[str, str] = {}
    read: dict[str, str] = {}
    for path, folder in found:
        written.setdefault(folder, str(path))
        read.setdefault(os.path.dirname(path), str(path))
    targets = {os.path.realpath(os.path.join(to, folder)) for folder in written}
    for parent in read:
        real = os.path.realpath(parent or ".")
        if real in targets or any(within(real, folder) for folder in kept):
            raise SettingsError(_among(out, parent or "."))
    for folder, image in written.items():
        if is_kept_free(folder):
            raise SettingsError(
                f"{image} would be written to {out / folder}, where foveate keeps its {folder}; "
                "give that folder another name"
            )


def _named(found: Sequence[InputFile], channels: str) -> list[Item]:
    """Return the items, with names that no two share; SettingsError names two that must.

    A file's name is its stem until another has it: then all of its pages take its full name, which
    may be the stem of a third.
    """
    pages = [_pages(entry.path, channels) for entry in found]
    full: set[int] = set()
    while True:
        names = list(_names(found, pages, full))
        owners: dict[str, int] = {}
        clashing: set[int] = set()
        for index, _, name in names:
            other = owners.setdefault(name.lower(), index)
            if other != index:
                if {index, other} <= full:
                    raise SettingsError(_clash(found[other], found[index], name))
                clashing |= {index, other}
        if not clashing:
            return [Item(found[index].path, name, page) for index, page, name in names]
        full |= clashing


def _clash(first: InputFile, second: InputFile, name: str) -> str:
    """Say that two images would have one mask, and what helps."""
    one, other = (f"{entry.folder}/{entry.path.name}" for entry in (first, second))
    if one != other and one.lower() == other.lower():
        advice = (
            "their names differ only in upper and lower case, which many disks do not tell apart; "
            "rename one of them, or segment it by itself into another folder"
        )
    else:
        advice = "segment them into two folders, or keep their tree with --recursive"
    return f"{first.path} and {second.path} would both be written to {name}.png; {advice}"


def _pages(path: Path, channels: str) -> range:
    """Return the pages of a file as they are read: 1 to N, or 0 alone where there is one."""
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        count = image_count(path, channels)
    elif may_have_slices(name):
        count = frame_count(path)
    else:
        return range(1)
    return range(1, count + 1) if count > 1 else range(1)


def _names(
    found: Sequence[InputFile], pages: Sequence[range], full: set[int]
) -> Iterator[tuple[int, int, str]]:
    """Yield (place in ``found``, page, name); the files in ``full`` keep their suffix."""
    for index, (path, folder) in enumerate(found):
        name = path.name if index in full else stem_of(path)
        start = f"{folder}/{name}" if folder else name
        for page in pages[index]:
            yield index, page, f"{start}.p{page}" if page else start
