"""Write COCO annotations with run lengths: a file per image, and all in one at the end.

An image's file is a whole COCO file of one image. ``assemble_coco`` numbers images and annotations
anew. A class that an image shows is one annotation, whatever the number of its pieces: the cascade
segments classes and does not tell objects apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec

ANNOTATIONS = "annotations{part}.json"
"""The file in OUT that holds the annotations of all images, or of those of a shard."""


def encode_coco(result: Result, spec: CascadeSpec, file_name: str) -> bytes:
    """Return the COCO file of one image; ``file_name`` is what COCO calls it.

    SettingsError when pycocotools is not installed.
    """
    OutputSettings("coco").check()
    height, width = result.mask.shape
    values = {
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "annotations": _annotations(result, spec),
        "categories": _categories(spec),
    }
    return json.dumps(values).encode()


def _annotations(result: Result, spec: CascadeSpec) -> list[dict[str, Any]]:
    """Return one annotation for every foreground class that the mask holds."""
    from pycocotools import mask as run_lengths

    found: list[dict[str, Any]] = []
    columns = cv2.transpose(result.mask)  # COCO counts down the columns; faster than asfortranarray
    for label in range(1, len(spec.classes)):
        inside = np.equal(columns, label).view(np.uint8)
        if not inside.any():
            continue
        lengths = run_lengths.encode(inside.T)
        found.append(
            {
                "id": len(found) + 1,
                "image_id": 1,
                "category_id": label,
                "segmentation": {
                    "size": list(result.mask.shape),
                    "counts": lengths["counts"].decode("ascii"),
                },
                "area": int(run_lengths.area(lengths)),
                "bbox": [float(value) for value in run_lengths.toBbox(lengths)],
                "iscrowd": 0,
                "score": round(result.score, 6),
            }
        )
    return found


def _categories(spec: CascadeSpec) -> list[dict[str, Any]]:
    """Return the foreground classes; a category's id is its class index."""
    return [{"id": label, "name": name} for label, name in enumerate(spec.classes) if label > 0]


def coco_names(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the images that have a line in the journal, for ``assemble_coco``."""
    masks = (str(line.get("mask", "")) for line in lines)
    return [mask.removesuffix(".coco.json") for mask in masks if mask]


def assemble_coco(out: Path, names: Iterable[str], spec: CascadeSpec, part: str = "") -> Path:
    """Write ``annotations.json`` into ``out`` from the files of the images ``names``; return it.

    ``part`` of a shard is in its name, so that shards overwrite nothing of each other.
    Images are numbered in the order of their names, so the same images give the same file. One
    image's annotations are held in memory at a time.
    """
    path = out / ANNOTATIONS.format(part=part)
    write_atomically(path, lambda file: _assemble(file, out, sorted(set(names)), spec))
    return path


def _assemble(file: IO[bytes], out: Path, names: list[str], spec: CascadeSpec) -> None:
    images, annotations = [], 0
    file.write(b'{"categories": ' + json.dumps(_categories(spec)).encode() + b', "annotations": [')
    for number, name in enumerate(names, 1):
        values = json.loads((out / OutputSettings("coco").names(name)[0]).read_bytes())
        images.append({**values["images"][0], "id": number})
        for annotation in values["annotations"]:
            annotations += 1
            line = json.dumps({**annotation, "id": annotations, "image_id": number})
            file.write((",\n" if annotations > 1 else "\n").encode() + line.encode())
    file.write(b'\n], "images": ' + json.dumps(images).encode() + b"}\n")
