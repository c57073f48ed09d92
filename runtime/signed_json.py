"""JSON files that carry the sha256 of their own values: damage and changes by hand are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.errors import BundleError
from foveate.runtime.hashes import canonical_sha256
from foveate.runtime.json_files import check_shape, read_json


def write_signed(path: Path, values: Mapping[str, Any], own_hash: str) -> None:
    """Write values and, under the name ``own_hash``, their sha256. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = json.dumps({**values, own_hash: canonical_sha256(values)}, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_signed(path: Path, made_by: str, own_hash: str, shape: Mapping[str, Any]) -> Any:
    """Return the values of a file without their hash; BundleError when they are not as written.

    ``made_by`` completes the sentence for a file that is not there, ``shape`` is of
    ``json_files.check_shape``.
    """
    values = read_json(path, made_by)
    stated = values.pop(own_hash, None)
    if canonical_sha256(values) != stated:
        raise BundleError(f"{path}: does not match its own {own_hash}; it was changed")
    check_shape(path, values, shape)
    return values
