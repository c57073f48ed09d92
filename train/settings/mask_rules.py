"""How the values of mask files become classes, where the settings say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.json_files import is_a

WAYS = ("mask_threshold", "mask_values", "mask_colours", "mask_instances")
"""Ways to read a mask, of which one is set at most."""
UNSET: dict[str, Any] = {
    "mask_threshold": 0, "mask_values": "", "mask_colours": "", "mask_instances": False,
    "ignore_value": -1,
}  # fmt: skip
FORMS = {
    "mask_values": (r"\d{1,5}", 10, "lesion=1,vessel=7"),
    "mask_colours": (r"#[0-9a-fA-F]{6}", 16, "lesion=#c81e1e,vessel=#1ec81e"),
}
"""Setting -> how a stored value is written, to which base, and an example."""
MOST_CLASSES = 254
"""Foreground classes; masks in memory have one byte a pixel, and one value for no label."""


@dataclass(frozen=True)
class MaskRules:
    """What the settings say of mask files; without any, their values are judged over the set.

    ``threshold``: from this value on a pixel is foreground (0: not set). ``values`` and ``colours``
    (0xRRGGBB): what is stored -> label. ``names``: the foreground classes named there, label 1
    first. ``instances``: every value over 0 is foreground. ``ignore``: the value of pixels that
    are not labelled (-1: none). ``words``: the settings as they were given.
    """

    threshold: int = 0
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[int, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    instances: bool = False
    ignore: int = -1
    words: str = ""

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> MaskRules:
        """Return the rules that settings have by name; those that are missing are not set.

        SettingsError for what is malformed, and names two that do not go together.
        """
        said = stated(settings)
        given = UNSET | said
        ways = [name for name in said if name in WAYS]
        if len(ways) > 1:
            raise SettingsError(f"{ways[0]} and {ways[1]} do not go together; expected one of them")
        ignore = int(given["ignore_value"])
        if ignore >= 0 and ways and ways[0] in ("mask_threshold", "mask_colours"):
            raise SettingsError(
                f"ignore_value and {ways[0]} do not go together; ignore_value goes with class "
                "indices, mask_values and mask_instances"
            )
        names: tuple[str, ...] = ()
        tables: dict[str, dict[int, int]] = {}
        for name in FORMS:
            if name in said:
                names, tables[name] = _parse(name, given[name], ignore)
        return cls(
            threshold=given["mask_threshold"],
            values=tables.get("mask_values", {}),
            colours=tables.get("mask_colours", {}),
            names=names,
            instances=given["mask_instances"],
            ignore=ignore,
            words=", ".join(f"{name}={given[name]}" for name in said),
        )

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> MaskRules:
        """Return the rules that a bundle was trained by; BundleError where they are malformed."""
        found = manifest["data"].get("masks", {})
        if not is_a(found, dict) or not all(
            is_a(found.get(name, unset), type(unset)) for name, unset in UNSET.items()
        ):
            raise BundleError(f"data.masks of the manifest is {found!r:.80}; expected settings")
        return cls.of_settings(found)

    def for_classes(self, classes: Sequence[str]) -> MaskRules:
        """Return the rules with the labels of a model that has these foreground classes.

        SettingsError when they name a class that the model does not know.
        """
        unknown = [name for name in self.names if name not in classes]
        if unknown:
            raise SettingsError(
                f'{self.words}: the model does not know "{unknown[0]}"; it knows '
                f"{', '.join(classes)}"
            )
        if not self.names:
            return self
        labels = [0, *(classes.index(name) + 1 for name in self.names)]
        return replace(
            self,
            values={value: labels[label] for value, label in self.values.items()},
            colours={colour: labels[label] for colour, label in self.colours.items()},
            names=tuple(classes),
        )


def stated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings that say how masks are read, where they are set."""
    return {
        name: settings[name] for name, unset in UNSET.items() if settings.get(name, unset) != unset
    }


def _parse(setting: str, text: str, ignore: int) -> tuple[tuple[str, ...], dict[int, int]]:
    """Return the foreground classes of ``NAME=VALUE,...`` and what is stored -> label.

    What is 0 or black is background, unless a value is named background.
    """
    form, base, example = FORMS[setting]
    expected = f'expected NAME=VALUE with commas between, for example "{example}"'
    names: list[str] = ["background"]
    table: dict[int, int] = {}
    for part in text.split(","):
        name, _, stored = (piece.strip() for piece in part.rpartition("="))
        if not name or re.fullmatch(form, stored) is None:
            raise SettingsError(f'{setting} is "{text}"; {expected}')
        value = int(stored.removeprefix("#"), base)
        if value in table or value == ignore:
            problem = "is the ignore_value too" if value == ignore else "is there twice"
            raise SettingsError(f'{setting} is "{text}", and {stored} {problem}; {expected}')
        if name not in names:
            names.append(name)
        table[value] = names.index(name)
    if 0 not in table.values() and ignore != 0:
        table.setdefault(0, 0)
    if not 2 <= len(names) <= MOST_CLASSES + 1:
        raise SettingsError(f"{setting} names {len(names) - 1} classes; expected 1 to 254")
    return tuple(names[1:]), table
