"""Find which items an earlier run has done."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.inputs import Item
from foveate.runtime.segment.journal import Journal, Line, file_sha256

READERS = 4
STAMPED = ("input", "page", "input_bytes", "input_mtime_ns")
"""What a journal line says about the file that was read."""
Key = tuple[str, int]


def stamp(item: Item) -> Line:
    """Return what identifies an unchanged input: path, page, size and modification time.

    Size and time are -1 if the file cannot be examined.
    """
    try:
        found = os.stat(item.path)
        size, changed = found.st_size, found.st_mtime_ns
    except OSError:
        size, changed = -1, -1
    return {
        "input": str(item.path),
        "page": item.page,
        "input_bytes": size,
        "input_mtime_ns": changed,
    }


def check_same_job(journal: Journal, job: Mapping[str, Any]) -> None:
    """Raise SettingsError if the folder was started with another bundle or other options."""
    earlier = journal.earlier_job()
    if earlier is None:
        return
    was, now = _flat(earlier), _flat(job)
    differing = [name for name in now if (was.get(name) or None) != (now[name] or None)]
    if differing:
        said = ", ".join(f"{n} {_shown(was.get(n))}, now {_shown(now[n])}" for n in differing)
        raise SettingsError(
            f"--resume: {journal.out} was started with other options: {said}. Use the same bundle "
            "and options, choose another folder, or leave --resume out to start afresh"
        )


def _flat(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that must be equal, each by the name of its option."""
    return {
        name: value
        for whole, part in job.items()
        if whole != "plan"
        for name, value in (part.items() if isinstance(part, Mapping) else [(whole, part)])
    }


def _shown(value: Any) -> str:
    """Return a value for a message, a sha256 by its first digits."""
    text = "not given" if value is None else str(value)
    return text if len(text) < 40 else f"{text[:12]}…"


def remaining(journal: Journal, items: Sequence[Item]) -> tuple[list[Item], int]:
    """Return the items left to do and how many are done; rewrites the journal accordingly.

    An item is done if it has a line, its input is unchanged, and every file written for it still
    has the sha256 in that line. Lines of images that are not among the items stay as long as their
    files do: several commands may fill one folder.
    """
    lines = _whole_lines(journal)
    keys = [(str(item.path), item.page) for item in items]
    done, left = [], []
    for item, key in zip(items, keys, strict=True):
        line = lines.get(key)
        if line is not None and _unchanged(line, stamp(item)):
            done.append(line)
        else:
            left.append(item)
    named = set(keys)
    others = [line for key, line in lines.items() if key not in named]
    journal.replace([*others, *done])
    return left, len(done)


def done_before(journal: Journal) -> tuple[Callable[[Item], bool], int]:
    """Return a predicate that tells whether an item is done, and how many are.

    Like ``remaining``, for items that are not known yet.
    """
    lines = _whole_lines(journal)
    journal.replace(list(lines.values()))
    stamps = {key: {name: line.get(name) for name in STAMPED} for key, line in lines.items()}

    def is_done(item: Item) -> bool:
        line = stamps.get((str(item.path), item.page))
        return line is not None and _unchanged(line, stamp(item))

    return is_done, len(stamps)


def _whole_lines(journal: Journal) -> dict[Key, Line]:
    """Return the last line of every image whose files are all as they were written."""
    lines = {_key(line): line for line in journal.lines()}
    with ThreadPoolExecutor(READERS, "foveate-resume") as readers:
        found = readers.map(lambda line: _whole(journal, line), lines.values())
        return {key: line for (key, line), whole in zip(lines.items(), found, strict=True) if whole}


def _key(line: Mapping[str, Any]) -> Key:
    return str(line.get("input")), int(line["page"])


def _unchanged(line: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return now["input_bytes"] >= 0 and all(line.get(name) == value for name, value in now.items())


def _whole(journal: Journal, line: Mapping[str, Any]) -> bool:
    """Return whether every file of a line is as it was written."""
    files = line.get("files")
    if not isinstance(files, dict) or not files:
        return False
    found = {name: file_sha256(journal.out / name) for name in files}
    return all(found.values()) and found == files
