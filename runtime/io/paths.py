"""List the files that one argument names: a folder, a tree, a glob, a list of names.

What foveate writes is never taken for an input: the folder OUT and all below it are passed over.
Where the inputs lie inside OUT themselves, only OUT's own folders are.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.formats.headers import is_image_file, is_image_name
from foveate.runtime.io.output_settings import FOLDERS


class InputFile(NamedTuple):
    """A file, and the folder under OUT for what is made of it ("" is OUT, else "a/b")."""

    path: Path
    folder: str = ""


def images_in(folder: str, out: Path, recursive: bool) -> Iterator[InputFile]:
    """Yield the images of a folder by name, then those of its folders when ``recursive``."""
    for inside, path, name in _files(folder, _passed_over(folder, out), recursive):
        if not name or is_image_file(Path(path)):
            yield InputFile(Path(path), inside)


def skipped_in(folder: str, out: Path, recursive: bool) -> Counter[str]:
    """Return how many files of a folder are taken for no image, by suffix."""
    listed = _files(folder, _passed_over(folder, out), recursive)
    files = (Path(path) for _, path, name in listed if name)
    return Counter(path.suffix or path.name for path in files if not is_image_file(path))


def matches(pattern: str, out: Path, tree: bool) -> Iterator[InputFile]:
    """Yield the files that a glob matches, by name; ``**`` is any number of folders.

    With ``tree`` they keep the folders below the part of the glob that has no pattern in it.
    """
    parts = Path(pattern).parts
    plain = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    base = os.path.join("", *parts[:plain]) or "."
    passed_over = cache(_passed_over(base, out))
    inside = cache(lambda folder: _inside(folder, base) if tree else "")
    deep = parts.index("**") if "**" in parts else len(parts)
    starts = os.path.join("", *parts[:deep])
    for start in sorted(glob.glob(starts)) if glob.has_magic(starts) else [starts or "."]:
        if os.path.isdir(start):
            for folder, path, name in _tree(start, passed_over) if deep < len(parts) else ():
                if not name or _fits((*Path(folder).parts, name), parts[deep:]):
                    yield InputFile(Path(path), inside(os.path.dirname(path)))
        elif deep == len(parts) and not passed_over(os.path.dirname(start)):
            yield InputFile(Path(start), inside(os.path.dirname(start)))


def listed_names(data: bytes) -> list[str]:
    """Return the names of a list: apart by NUL where there is one, else one a line."""
    data = data.removeprefix(b"\xef\xbb\xbf")  # the mark that Windows puts before UTF-8
    if b"\0" in data:
        names = data.split(b"\0")
    else:
        names = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def names_on_stdin() -> list[str]:
    """Return the names of a list on standard input."""
    return listed_names(sys.stdin.buffer.read() if sys.stdin else b"")


def listed_in(path: str) -> list[str]:
    """Return the paths of a list in a file; SettingsError when it has none, or has stems."""
    names = _read_list(f"@{path}", path, "path")
    if not any(os.path.lexists(name) or _ends_like_a_path(name) for name in names):
        raise SettingsError(
            f"@{path}: none of its {len(names)} lines is the path of a file; they look like stems: "
            f"give the folder of the images and --list {path}"
        )
    return names


def stems_in(path: str) -> list[str]:
    """Return the stems of a list in a file; SettingsError when it has none."""
    names = [name.strip() for name in _read_list(f"--list {path}", path, "stem")]
    return [name for name in names if name]


def _read_list(given: str, path: str, kind: str) -> list[str]:
    try:
        names = listed_names(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(
            f"{given}: the list {path} cannot be read: {error.strerror}; expected a file with one "
            f"{kind} a line"
        ) from error
    if not names:
        raise SettingsError(f"{given}: the list is empty; expected one {kind} a line")
    return names


def _ends_like_a_path(name: str) -> bool:
    return os.path.dirname(name) != "" or is_image_name(name)


def not_of(out: Path, names: Sequence[str], tree: bool) -> Iterator[InputFile]:
    """Yield listed files, but for those that foveate wrote to ``out``.

    With ``tree`` they keep the folders below the deepest that has them all.
    """
    real = {folder: os.path.realpath(folder) for folder in map(os.path.dirname, names)}
    common = os.path.commonpath(real.values())
    passed_over = _passed_over(common, out)
    places = {
        folder: _inside(path, common) if tree else ""
        for folder, path in real.items()
        if not passed_over(path)
    }
    for name in names:
        folder = os.path.dirname(name)
        if folder in places:
            yield InputFile(Path(name), places[folder])


def _inside(folder: str, root: str) -> str:
    """Return the way to a folder from one above it; "" where both are one, or it is not below."""
    way = Path(os.path.relpath(folder or ".", root))
    return "" if ".." in way.parts else "/".join(way.parts)


def within(folder: str, other: str) -> bool:
    """Say whether a resolved folder is another one or lies below it."""
    return folder == other or folder.startswith(other.rstrip(os.sep) + os.sep)


def _passed_over(root: str, out: Path) -> Callable[[str], bool]:
    """Return what says whether a folder reached from ``root`` holds what foveate wrote."""
    to = os.path.realpath(out)
    start = os.path.realpath(root)
    own = [to]
    if start != to and within(start, to):
        own = [os.path.join(to, name) for name in FOLDERS]

    def told(folder: str) -> bool:
        real = os.path.realpath(folder)
        return real == to or any(within(real, written) for written in own)

    return told


def _files(
    root: str, passed_over: Callable[[str], bool], recursive: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield (folder below ``root``, path, name) of all files but hidden ones, in a fixed order.

    Linked folders come after all others; none is entered twice, so a circle of links ends. A
    folder below ``root`` that cannot be listed, or with ``recursive`` a link that leads nowhere, is
    yielded with no name: it fails where it is read.
    """
    ahead, links, seen = [("", root)], deque[tuple[str, str]](), set[str]()
    while ahead or links:
        inside, folder = ahead.pop() if ahead else links.popleft()
        real = os.path.realpath(folder)
        if real in seen or passed_over(folder):
            continue
        seen.add(real)
        try:
            entries = sorted(_entries(folder), key=lambda entry: entry.name)
        except OSError:
            if not inside:
                raise
            yield os.path.dirname(inside), folder, ""
            continue
        below: list[tuple[str, str]] = []
        for entry in entries:
            try:
                folder_below = recursive and _is_folder(entry)
            except OSError:
                yield inside, entry.path, ""
                continue
            if not folder_below:
                yield inside, entry.path, entry.name
                continue
            place = (f"{inside}/{entry.name}" if inside else entry.name, entry.path)
            (links if entry.is_symlink() else below).append(place)
        ahead.extend(reversed(below))


def _tree(start: str, passed_over: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    """Return what ``_files`` yields of a tree; where it cannot be listed, that it fails."""
    try:
        return list(_files(start, passed_over, True))
    except OSError:
        return [("", start, "")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a folder; OSError for a link that leads nowhere."""
    return stat.S_ISDIR(entry.stat().st_mode) if entry.is_symlink() else entry.is_dir()


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Say whether the parts of a path fit those of a glob."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        rest = patterns[1:]
        return not rest or any(_fits(parts[index:], rest) for index in range(len(parts)))
    return bool(parts) and fnmatch(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])
