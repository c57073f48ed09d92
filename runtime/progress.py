"""A progress line on a terminal, with the time left; plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import click


class Bar:
    """One line on stderr that counts up. Where stderr is no terminal only ``log`` writes."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.label = ""
        self.started = 0.0
        self.shown = 0.0

    def update(self, label: str, done: int, total: int) -> None:
        """Show ``done`` of ``total``, at most ten times a second."""
        now = time.monotonic()
        if label != self.label:
            self.label, self.started, self.shown = label, now, 0.0
        if not self.live or (now - self.shown < 0.1 and done < total):
            return
        self.shown = now
        left = (now - self.started) / max(done, 1) * (total - done)
        filled = 24 * done // max(total, 1)
        bar = "#" * filled + "." * (24 - filled)
        click.echo(
            f"\r{label} [{bar}] {done}/{total}, {left:.0f} s left \033[K", err=True, nl=False
        )

    def clear(self) -> None:
        """Take the progress line away."""
        if self.live:
            click.echo("\r\033[K", err=True, nl=False)

    def log(self, text: str) -> None:
        """Write a line that stays, on stdout."""
        self.clear()
        click.echo(text)
        sys.stdout.flush()
