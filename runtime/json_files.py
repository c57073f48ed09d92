"""Read JSON files that others may have written: strictly, bounded, and of an expected shape.

A signed file carries the sha256 of its own values, so damage and edits by hand are found.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import BundleError

MAX_BYTES = 16 << 20
"""Largest file read as JSON; a manifest has two thousand bytes, a long run's record a million."""


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Return the JSON object of a file; BundleError says why it is refused.

    Refused besides broken JSON: NaN and infinity, a name twice, deep nesting, huge files, links.
    ``made_by`` completes the sentence for a file that is not there.
    """
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise BundleError(f"{path}: is a link or a folder; expected a plain file")
        check_size(path, path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read: {error.strerror}; expected {made_by}"
        ) from error
    return parse_bytes(path, content)


def check_size(path: Path, size: int, most: int = MAX_BYTES) -> None:
    """Raise BundleError where a file has more bytes than it may, before any of them is read."""
    if size > most:
        raise BundleError(f"{path}: has {size} bytes; expected at most {most}")


def parse_bytes(path: Path, content: bytes) -> dict[str, Any]:
    """Return the JSON object in the content of a file; BundleError as ``parse_json``."""
    try:
        return parse_json(path, content.decode())
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not valid JSON: not UTF-8 at byte {error.start}") from error


def parse_json(path: Path, text: str) -> dict[str, Any]:
    """Return the JSON object in a text; ``path`` is named in the BundleError when it is refused."""
    try:
        values = json.loads(
            text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_finite
        )
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    except RecursionError:
        raise BundleError(f"{path}: not valid JSON: nested too deeply") from None
    if not isinstance(values, dict):
        raise BundleError(f"{path}: holds {type(values).__name__}; expected a JSON object")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:40]!r} appears twice in one object")
            seen.add(name)
    return values


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def check_shape(path: Path, value: Any, expected: Any, where: str = "") -> None:
    """Raise BundleError unless JSON values have the expected shape.

    ``expected`` is a type, ``[shape]`` for a list of any length, or a dict of the names that must
    be there; others may be there too. ``float`` also takes whole numbers; only ``bool`` takes
    booleans.
    """
    if isinstance(expected, dict):
        check_shape(path, value, dict, where)
        for name, shape in expected.items():
            inner = f"{where}.{name}" if where else name
            if name not in value:
                raise BundleError(f"{path}: has no {inner}")
            check_shape(path, value[name], shape, inner)
    elif isinstance(expected, list):
        check_shape(path, value, list, where)
        for index, item in enumerate(value):
            check_shape(path, item, expected[0], f"{where}[{index}]")
    elif not is_a(value, expected):
        shown = f"{type(value).__name__} {value!r}"[:60]
        raise BundleError(f"{path}: {where} is {shown}; expected {expected.__name__}")


def is_a(value: Any, kind: type) -> bool:
    """Say whether a JSON value is of a type: 1 is a float too, and True is only a bool."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def canonical_sha256(values: Mapping[str, Any]) -> str:
    """Return the sha256 of JSON values written with sorted keys and no spaces."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_signed(path: Path, values: Mapping[str, Any], own_hash: str) -> None:
    """Write values and, under the name ``own_hash``, their sha256. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps({**values, own_hash: canonical_sha256(values)}, indent=1) + "\n"
    write_atomically(path, text.encode())


def read_signed(path: Path, made_by: str, own_hash: str, shape: Mapping[str, Any]) -> Any:
    """Return the values of a file without their hash; BundleError when they were changed.

    ``made_by`` completes the sentence for a missing file; ``shape`` as in ``check_shape``.
    """
    values = read_json(path, made_by)
    stated = values.pop(own_hash, None)
    if canonical_sha256(values) != stated:
        raise BundleError(f"{path}: does not match its own {own_hash}; it was changed")
    check_shape(path, values, shape)
    return values
