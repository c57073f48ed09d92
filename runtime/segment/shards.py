"""A share of the inputs, the same on every machine, with no word between them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.inputs import Item

MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """Share ``index`` (from 1) of ``count``."""

    index: int
    count: int

    @property
    def part(self) -> str:
        """What the names of this share's journal hold."""
        return f".{self.index}-of-{self.count}"

    def of(self, items: Iterable[Item]) -> list[Item]:
        """Return the items of this share, by the sha256 of the names of their masks."""
        return [item for item in items if _number(item) % self.count == self.index - 1]


def shard(text: str) -> Shard:
    """Return the share that "I/N" names; SettingsError when it names none."""
    match = re.fullmatch(r"\s*(\d{1,6})/(\d{1,6})\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST:
        raise SettingsError(f'--shard is "{text}"; wanted I/N with I from 1 to N, for example 2/8')
    return Shard(int(match[1]), int(match[2]))


def _number(item: Item) -> int:
    return int.from_bytes(
        hashlib.sha256(item.name.encode("utf-8", "surrogateescape")).digest()[:8], "big"
    )
