"""What a study searches: for each setting a range or a list of choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.errors import SettingsError
from foveate.train.settings.settings import Settings, check_name, read_toml

DEFAULT: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 5e-4, "high": 8e-3, "log": True},
    "weight_decay": {"low": 1e-4, "high": 0.1, "log": True},
    "batch_size": {"choices": [4, 8, 16]},
    "augmentation": {"choices": ["light", "standard", "medical", "industrial"]},
}
"""Nothing that changes what the bundle costs: width, depth and sizes are for the user to name."""


@dataclass(frozen=True)
class Range:
    """One setting's values: from ``low`` to ``high``, or one of ``choices``."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.choices and not self.low < self.high:
            raise SettingsError(
                f"[{self.name}] goes from {self.low} to {self.high}; expected low < high"
            )
        if self.log and self.low <= 0:
            raise SettingsError(
                f"[{self.name}] has log = true and low = {self.low}; expected over 0"
            )
        for value in self.choices or (self.low, self.high):
            Settings(**{self.name: value})

    def holds(self, value: Any) -> bool:
        """Say whether the value is one of those searched."""
        return value in self.choices if self.choices else bool(self.low <= value <= self.high)

    def as_dict(self) -> dict[str, Any]:
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log}


def read_space(path: Path | None, fixed: Mapping[str, Any]) -> tuple[Range, ...]:
    """Return the ranges of a TOML file, a table a setting, or the default ones.

    A table has ``choices``, a list, or ``low``, ``high`` and, optionally, ``log = true``. A setting
    that is ``fixed`` is not searched: it is taken out of the default ranges, and is an error in a
    file. SettingsError names the table and what it lacks.
    """
    tables = DEFAULT if path is None else read_toml(path)
    if path is None:
        tables = {name: table for name, table in tables.items() if name not in fixed}
    both = sorted(set(tables) & set(fixed))
    if both:
        raise SettingsError(
            f"{', '.join(both)}: set, and searched by {path}; expected one of the two"
        )
    if not tables:
        raise SettingsError("nothing is left to search: every setting of the space is set")
    return tuple(_range(name, table) for name, table in tables.items())


def _range(name: str, table: Any) -> Range:
    check_name(name)
    table = table if isinstance(table, dict) else {}
    keys = set(table)
    if keys == {"choices"} and isinstance(table["choices"], list) and table["choices"]:
        return Range(name, choices=tuple(table["choices"]))
    if isinstance(getattr(Settings, name), str):
        raise SettingsError(f"[{name}] is a word; expected choices = [...]")
    numbers = all(isinstance(table.get(key), int | float) for key in ("low", "high"))
    if not numbers or not keys <= {"low", "high", "log"}:
        raise SettingsError(
            f"[{name}]: expected choices = [...], or low and high, and log = true or not"
        )
    return Range(name, table["low"], table["high"], bool(table.get("log", False)))
