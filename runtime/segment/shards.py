"""Split the inputs into shards, identically on every machine, without communication."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.formats.tiff import pages as tiff_pages
from foveate.runtime.io.inputs import Item

MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` (from 1) of ``count``."""

    index: int
    count: int

    @property
    def part(self) -> str:
        """The part of this shard's journal names that tells it from other shards."""
        return f".{self.index}-of-{self.count}"

    def of(self, items: Iterable[Item]) -> list[Item]:
        """Return the items of this shard, chosen by the sha256 of their mask names or volumes."""
        return [item for item in items if _number(item) % self.count == self.index - 1]


def shard(text: str) -> Shard:
    """Return the shard that "I/N" names; SettingsError for another text."""
    match = re.fullmatch(r"\s*(\d{1,6})/(\d{1,6})\s*", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
        raise SettingsError(
            f'--shard is "{text}"; expected I/N with I from 1 to N, for example 2/8'
        )
    return Shard(int(match[1]), int(match[2]))


def _number(item: Item) -> int:
    name = item.name
    if not item.path.name.lower().endswith(tiff_pages.SUFFIXES):  # one shard has a whole volume
        name = name.removesuffix(f".p{item.page}")
    return int.from_bytes(
        hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big"
    )
