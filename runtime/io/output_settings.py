"""Name the files written for an image. No numpy here: the command line needs this for help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from foveate.runtime.errors import SettingsError

_ANNOTATIONS = {
    "coco": "{}.coco.json",
    "geojson": "{}.geojson",
    "labelme": "labelme/{}.json",
    "label-studio": "{}.label-studio.json",
}
_FILES = {"png": "{}.png", "npz": "{}.npz", **_ANNOTATIONS, "dicom-seg": "{}.png"}
OUTPUT_KINDS = tuple(_FILES)
"""What a mask can be written as."""
OVERLAYS, PROBABILITY, OBJECTS, THUMBNAILS = FOLDERS = (
    "overlays",
    "probability",
    "objects",
    "thumbnails",
)
"""Folders in OUT next to the masks."""


@dataclass(frozen=True)
class OutputSettings:
    """What is written of every image: the mask as one of ``OUTPUT_KINDS``, and what goes with it.

    ``overlay``: a picture of mask and box over the image. ``probability``: the probability of any
    foreground as a picture, and in an NPZ those of both stages. ``objects``: a table of the pieces
    of the mask; ``labels``: their numbers as a picture. ``split``: "touching" cuts pieces at necks,
    in the table and in annotations. ``rank``: each image's doubt in its line. ``page``: a small
    overlay for the page of the run.
    """

    kind: str = "png"
    overlay: bool = False
    probability: bool = False
    objects: bool = False
    labels: bool = False
    split: str | None = None
    rank: bool = False
    page: bool = False

    @property
    def annotates(self) -> bool:
        """Whether the mask is written object by object."""
        return self.kind in _ANNOTATIONS

    def check(self) -> None:
        """Raise SettingsError for what does not exist or do anything, or lacks its package."""
        if not self.objects and (self.labels or (self.split and not self.annotates)):
            raise SettingsError("--labels and --split say how objects are written; add --objects")
        if self.kind not in _FILES:
            raise SettingsError(
                f'masks cannot be written as "{self.kind}"; expected {", ".join(OUTPUT_KINDS)}'
            )
        if self.kind == "coco" and find_spec("pycocotools") is None:
            raise SettingsError(
                "COCO run lengths need pycocotools, which is not installed: "
                "pip install 'foveate[coco]'"
            )
        if self.kind == "dicom-seg" and find_spec("highdicom") is None:
            raise SettingsError(
                "DICOM SEG needs highdicom, which is not installed: pip install 'foveate[dicom]'"
            )

    def names(self, name: str) -> tuple[str, ...]:
        """Return the files of the image ``name``, relative to OUT.

        The mask comes first, the overlay second, the thumbnail last.

        ``name`` has no suffix and may hold folders: ``sub/scan``.
        """
        files = [_FILES[self.kind].format(name)]
        if self.overlay:
            files.append(f"{OVERLAYS}/{name}.jpg")
        if self.probability:
            files.append(f"{PROBABILITY}/{name}.png")
        if self.objects:
            files.append(f"{OBJECTS}/{name}.csv")
        if self.labels:
            files.append(f"{OBJECTS}/{name}.png")
        if self.page:
            files.append(f"{THUMBNAILS}/{name}.jpg")
        return tuple(files)

    def check_distinct(self, names: Iterable[str]) -> None:
        """Raise SettingsError when two images would be written to one file.

        It takes ``scan`` and ``probability/scan``. Upper and lower case are one, as on some disks.
        """
        seen: dict[str, str] = {}
        for name in names:
            for file in self.names(name):
                if file.casefold() in seen:
                    raise SettingsError(
                        f"the images {seen[file.casefold()]} and {name} would both be written to "
                        f"{file}; segment them into two folders"
                    )
                seen[file.casefold()] = name
