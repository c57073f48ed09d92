"""Parse the optional address of ``--ray``. Imports no Ray: the command line uses this."""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveate.runtime.errors import SettingsError

LOCAL, CLUSTER = "local", "auto"
"""A Ray started for this run on this machine; the cluster this machine belongs to."""
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/\\:]+):([0-9]{1,5})")


def is_address(text: str) -> bool:
    return text in (LOCAL, CLUSTER) or _HOST_PORT.fullmatch(text) is not None


def address_filled_in(arguments: Sequence[str]) -> list[str]:
    """Return command line arguments with LOCAL added to a ``--ray`` that no address follows.

    ``lung.bundle`` is not an address, so in ``--ray lung.bundle`` it stays an argument.
    """
    filled: list[str] = []
    for number, argument in enumerate(arguments):
        if argument == "--":
            return [*filled, *arguments[number:]]
        bare = argument == "--ray" and not any(map(is_address, arguments[number + 1 : number + 2]))
        filled.append(f"--ray={LOCAL}" if bare else argument)
    return filled


def check_address(text: str) -> None:
    """Raise SettingsError for a text that is not an address."""
    if not is_address(text):
        raise SettingsError(
            f'--ray is "{text}"; expected HOST:PORT of a cluster, {CLUSTER} for the one that this '
            "machine belongs to, or nothing for this machine alone"
        )


def check_no_gpu(number: int) -> None:
    """Raise SettingsError for a GPU chosen by its number: Ray gives each actor one of its own."""
    if number:
        raise SettingsError(
            f"--gpu is {number}, and --ray gives every actor a GPU of its own; leave --gpu out"
        )


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return the host and port of an address; None for LOCAL and CLUSTER."""
    match = _HOST_PORT.fullmatch(text)
    return (match[1].strip("[]"), int(match[2])) if match else None
