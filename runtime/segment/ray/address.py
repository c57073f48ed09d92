"""The address of ``--ray``, which may be left out. No Ray here: the command line reads this."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveate.runtime.errors import SettingsError

LOCAL, AUTO = "local", "auto"
"""A Ray of this run's own on this machine, and the cluster this machine belongs to."""
_PLACE = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/\\:]+):([0-9]{1,5})")


def is_address(text: str) -> bool:
    return text in (LOCAL, AUTO) or _PLACE.fullmatch(text) is not None


def address_filled_in(arguments: Sequence[str]) -> list[str]:
    """Return command line arguments in which a ``--ray`` that no address follows has one.

    ``--ray lung.bundle`` is no address, so the bundle stays an argument.
    """
    filled: list[str] = []
    for number, argument in enumerate(arguments):
        if argument == "--":
            return [*filled, *arguments[number:]]
        bare = argument == "--ray" and not any(map(is_address, arguments[number + 1 : number + 2]))
        filled.append(f"--ray={LOCAL}" if bare else argument)
    return filled


def check_address(text: str) -> None:
    """Raise SettingsError for what is no address."""
    if not is_address(text):
        raise SettingsError(
            f'--ray is "{text}"; wanted HOST:PORT of a cluster, {AUTO} for the one that this '
            "machine belongs to, or nothing for this machine alone"
        )


def check_no_gpu(number: int) -> None:
    """Raise SettingsError for a GPU chosen by its number: Ray gives each actor one of its own."""
    if number:
        raise SettingsError(
            f"--gpu is {number}, and --ray gives every actor a GPU of its own; leave --gpu out"
        )


def place(text: str) -> tuple[str, int] | None:
    """Return the host and port of an address; None for LOCAL and AUTO."""
    match = _PLACE.fullmatch(text)
    return (match[1].strip("[]"), int(match[2])) if match else None
