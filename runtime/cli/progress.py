"""Show progress: a line with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import click

PLAIN_S = 10.0
"""Seconds between lines of progress where stderr is not a terminal."""


KNOWN_S = 0.5
"""Seconds after which a rate means something."""


class Bar:
    """One line on stderr that counts up.

    Where stderr is not a terminal there are plain lines, one in ``PLAIN_S`` seconds.
    """

    def __init__(self) -> None:
        self.live = sys.stderr is not None and sys.stderr.isatty()
        self.label = ""
        self.started = 0.0
        self.shown = 0.0 if self.live else time.monotonic()

    def update(self, label: str, done: int, total: int, note: str = "") -> None:
        """Show ``done`` of ``total``, at most ten times a second, with a rate and a note."""
        now = time.monotonic()
        if label != self.label:
            self.label, self.started = label, now
            self.shown = 0.0 if self.live else self.shown
        pause = 0.1 if self.live else PLAIN_S
        if now - self.shown < pause and (done < total or not self.live):
            return
        self.shown = now
        spent = now - self.started
        rate = f"{done}/{total}"
        if done and spent > KNOWN_S:
            left = f", {spent / done * (total - done):.0f} s left" if done < total else ""
            rate += f", {done / spent:.1f}/s{left}"
        rate += f"{', ' * bool(note)}{note}"
        if not self.live:
            click.echo(f"{label} {rate}", err=True)
            return
        filled = 24 * done // max(total, 1)
        bar = "#" * filled + "." * (24 - filled)
        click.echo(f"\r{label} [{bar}] {rate} \033[K", err=True, nl=False)

    def clear(self) -> None:
        """Take the progress line away."""
        if self.live:
            click.echo("\r\033[K", err=True, nl=False)

    def log(self, text: str) -> None:
        """Write a line that stays, on stdout."""
        self.clear()
        click.echo(text)
