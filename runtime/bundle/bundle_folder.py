"""A bundle that is a folder. Links are refused; what its manifest does not list is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import check_size

MAX_BYTES = (1 << 31) - 1
"""Most that one file of a bundle may have: as in a packed bundle, and in an ONNX file."""


@dataclass(frozen=True)
class BundleFolder:
    """The files of a bundle's folder."""

    path: Path

    def names(self) -> set[str]:
        """Return the names of all that lies in the folder."""
        return {path.name for path in self.path.iterdir()}

    def size(self, name: str) -> int:
        """Return the bytes of a file. BundleError where it is missing or is no plain file."""
        path = self.path / name
        try:
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise BundleError(f"{path}: is a link or a folder; wanted a plain file")
            return path.stat().st_size
        except OSError as error:
            raise self._unreadable(name, error) from error

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Return the content of a file of at most so many bytes. BundleError as for ``size``."""
        path, size = self.path / name, self.size(name)
        check_size(path, size, most)
        try:
            with path.open("rb") as file:
                content = file.read(size + 1)  # one more: it may be growing
        except OSError as error:
            raise self._unreadable(name, error) from error
        check_size(path, len(content), most)
        return content

    def _unreadable(self, name: str, error: OSError) -> BundleError:
        return BundleError(
            f"{self.path / name}: cannot be read: {error.strerror}; wanted a bundle made by "
            "foveate export"
        )
