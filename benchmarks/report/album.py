"""The plots of a report: each a PNG file beside the page, and in the page as text."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

from foveate.runtime.atomic_files import write_atomically


@dataclass
class Album:
    """Writes plots to a folder, numbered in the order they come."""

    folder: Path
    names: list[str] = field(default_factory=list)

    def figure(self, name: str, png: bytes | None, caption: str) -> str:
        """Write a plot and return it as HTML; nothing when there is none."""
        if png is None:
            return ""
        self.names.append(f"{len(self.names) + 1:02}-{name}.png")
        write_atomically(self.folder / self.names[-1], lambda file: file.write(png))
        text, data = html.escape(caption), base64.b64encode(png).decode()
        return (
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
        )
