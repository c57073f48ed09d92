"""Choose the format of annotations, and put the files of all images together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.exchange.coco import assemble_coco, encode_coco
from foveate.runtime.io.exchange.geojson import encode_geojson
from foveate.runtime.io.exchange.label_studio import encode_label_studio
from foveate.runtime.io.exchange.labelme import encode_labelme
from foveate.runtime.spec import CascadeSpec

ENCODERS = {
    "coco": encode_coco,
    "geojson": encode_geojson,
    "labelme": encode_labelme,
    "label-studio": encode_label_studio,
}
"""``--format`` -> what returns the file of one image."""
TOGETHER = {"coco": "annotations{part}.json", "label-studio": "tasks{part}.json"}
"""``--format`` -> the file in OUT that holds all images, or those of a shard."""


def assemble_annotations(
    kind: str, out: Path, lines: Iterable[Mapping[str, Any]], spec: CascadeSpec, part: str = ""
) -> None:
    """Write the file of all images, if the format has one, from those of the images.

    ``lines`` are those of the journal; images are sorted by name, so that the same images give the
    same file. ``part`` of a shard is in its name.
    """
    if kind in TOGETHER:
        paths = [out / name for name in sorted({line["mask"] for line in lines})]
        write_atomically(
            out / TOGETHER[kind].format(part=part),
            lambda file: (
                assemble_coco(file, paths, spec) if kind == "coco" else _join_lists(file, paths)
            ),
        )


def _join_lists(file: IO[bytes], paths: Iterable[Path]) -> None:
    """Write the elements of JSON lists as one list."""
    file.write(b"[")
    for number, path in enumerate(paths):
        file.write((b",\n" if number else b"\n") + path.read_bytes()[1:-1])
    file.write(b"\n]\n")
