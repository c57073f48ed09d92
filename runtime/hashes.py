"""The sha256 of JSON values, the same whoever writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_sha256(values: Mapping[str, Any]) -> str:
    """Return the sha256 of JSON values written with sorted keys and no spaces."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
