"""A seeded tamperer: what damage, mistakes and malice do to the files of a bundle or a run.

Every kind changes a copy and returns the names of the files it touched. The plain kinds leave the
hashes as they are; the signed kinds make them right again, as somebody who means it would.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Kind = Callable[[Path, np.random.Generator], set[str]]

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**70, 0.5, -0.5, 1e308, "", "64", "box", "../x", "/etc/passwd",
    "\ud800", "a\0b", [], [[]], {}, {"height": 64}, [1, 2], ["fp32", "fp32"], [None], "x" * 10_000,
)  # fmt: skip

UNREAD = ("settings.toml", "curves.png")
"""Files of a run for people: nothing that loads a run reads them."""


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name not in UNREAD)


def pick(folder: Path, rng: np.random.Generator) -> Path:
    found = files(folder)
    return found[int(rng.integers(len(found)))]


def change(path: Path, edit: Callable[[bytearray], bytes | bytearray]) -> set[str]:
    path.write_bytes(edit(bytearray(path.read_bytes())))
    return {path.name}


def flip(data: bytearray, rng: np.random.Generator, count: int = 1) -> bytearray:
    """Turn over single bits at different places."""
    for place in rng.choice(len(data), min(count, len(data)), replace=False):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def one_bit(folder: Path, rng: np.random.Generator) -> set[str]:
    return change(pick(folder, rng), lambda data: flip(data, rng))


def many_bits(folder: Path, rng: np.random.Generator) -> set[str]:
    return change(pick(folder, rng), lambda data: flip(data, rng, int(rng.integers(2, 200))))


def cut(folder: Path, rng: np.random.Generator) -> set[str]:
    return change(pick(folder, rng), lambda data: data[: int(rng.integers(len(data) - 1))])


def longer(folder: Path, rng: np.random.Generator) -> set[str]:
    more = b"x" + rng.bytes(int(rng.integers(1, 100)))
    return change(pick(folder, rng), lambda data: data + more)


def emptied(folder: Path, rng: np.random.Generator) -> set[str]:
    return change(pick(folder, rng), lambda data: b"")


def deleted(folder: Path, rng: np.random.Generator) -> set[str]:
    path = pick(folder, rng)
    path.unlink()
    return {path.name}


def swapped(folder: Path, rng: np.random.Generator) -> set[str]:
    found = files(folder)
    one, two = (found[index] for index in rng.choice(len(found), 2, replace=False))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    return {one.name, two.name}


def made_a_folder(folder: Path, rng: np.random.Generator) -> set[str]:
    path = pick(folder, rng)
    path.unlink()
    path.mkdir()
    return {path.name}


def made_a_link(folder: Path, rng: np.random.Generator) -> set[str]:
    """Put a link to other content outside the folder in the place of a file."""
    path = pick(folder, rng)
    outside = folder.parent / f"outside-{path.name}"
    outside.write_bytes(flip(bytearray(path.read_bytes()), rng))
    path.unlink()
    path.symlink_to(outside)
    return {path.name}


def from_elsewhere(folder: Path, rng: np.random.Generator, other: Path) -> set[str]:
    """Put the file of the same name of another bundle or run in the place of one.

    With another record it is the files that no longer fit, so any of them may be named.
    """
    names = sorted(path.name for path in files(folder) if (other / path.name).is_file())
    name = names[int(rng.integers(len(names)))]
    shutil.copy(other / name, folder / name)
    return set(names) if name.endswith(".json") else {name}


def white_space(folder: Path, rng: np.random.Generator, name: str) -> set[str]:
    """Write the JSON anew with other white space and another order of names: nothing changed."""
    values = json.loads((folder / name).read_text())
    shuffled = {key: values[key] for key in rng.permutation(list(values))}
    text = json.dumps(shuffled, indent=int(rng.integers(0, 9)))
    (folder / name).write_text("\n" * int(rng.integers(3)) + text + " \n\t\r")
    return {name}


def json_value(values: dict[str, Any], rng: np.random.Generator) -> None:
    """Put a hostile value in the place of one value, however deep, or take it away."""
    leaves = list(_leaves(values))
    holder, key = leaves[int(rng.integers(len(leaves)))]
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = HOSTILE[int(rng.integers(len(HOSTILE)))]


def _leaves(values: Any) -> Any:
    """Yield (holder, key) of every value inside JSON values."""
    pairs = list(values.items() if isinstance(values, dict) else enumerate(values))
    for key, value in pairs:
        yield values, key
        if isinstance(value, dict | list):
            yield from _leaves(value)


def plain_kinds(other: Path, record: str) -> dict[str, Kind]:
    """Return the kinds that leave all hashes as they are."""
    return {
        "one bit": one_bit, "many bits": many_bits, "cut": cut, "longer": longer,
        "emptied": emptied, "deleted": deleted, "swapped": swapped,
        "made a folder": made_a_folder, "made a link": made_a_link,
        "from elsewhere": lambda folder, rng: from_elsewhere(folder, rng, other),
        "a value of the record": lambda folder, rng: edit_json(folder / record, rng),
        "white space": lambda folder, rng: white_space(folder, rng, record),
    }  # fmt: skip


def edit_json(path: Path, rng: np.random.Generator) -> set[str]:
    """Change one value in a JSON file and leave its hash as it was."""
    values = json.loads(path.read_text())
    before = json.dumps(values, sort_keys=True)
    while json.dumps(values, sort_keys=True) == before:
        json_value(values, rng)
    path.write_text(json.dumps(values))
    return {path.name}
