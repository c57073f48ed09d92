"""Name an image so that an annotation tool finds it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImageSource:
    """An image at ``path``, called ``name`` under OUT, of which the file ``target`` is written."""

    path: Path
    name: str
    target: Path

    @property
    def file_name(self) -> str:
        """The path below the input folder: the folders of ``name``, and the file's own name."""
        return os.path.join(os.path.dirname(self.name), self.path.name).replace(os.sep, "/")

    @property
    def from_parent(self) -> str:
        """The path from the folder that the input folder lies in: ``scans/sub/a.png``."""
        depth = self.file_name.count("/")
        return f"{Path(os.path.abspath(self.path)).parents[depth].name}/{self.file_name}"

    @property
    def from_output(self) -> str:
        """The path from the folder of the file that is written: ``../scans/a.png``."""
        return os.path.relpath(os.path.realpath(self.path), os.path.realpath(self.target.parent))
