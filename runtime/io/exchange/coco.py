"""Write COCO annotations with run lengths, one per object.

An image's file is a whole COCO file of one image. ``assemble_coco`` numbers images and annotations
anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from foveate.runtime.io.exchange.source import ImageSource
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.objects.labels import Objects
from foveate.runtime.objects.runs import Runs
from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec


def encode_coco(objects: Objects, result: Result, spec: CascadeSpec, source: ImageSource) -> bytes:
    """Return the COCO file of one image; SettingsError when pycocotools is not installed."""
    OutputSettings("coco").check()
    height, width = result.mask.shape
    image = {"id": 1, "file_name": source.file_name, "height": height, "width": width}
    values = {
        "images": [image],
        "annotations": _annotations(objects, result) if len(objects.classes) else [],
        "categories": _categories(spec),
    }
    return json.dumps(values).encode()


def _annotations(objects: Objects, result: Result) -> list[dict[str, Any]]:
    """Return one annotation for every object; there is one at least."""
    from pycocotools import mask as run_lengths

    height, width = result.mask.shape
    # COCO counts down the columns, of which the next continues the last
    runs = Runs.of(objects.numbers.T.reshape(1, -1))
    bounds = np.split(np.stack([runs.left, runs.right + 1], axis=1), runs.first[1:])
    counts = [np.diff(part, prepend=0, append=height * width) for part in map(np.ravel, bounds)]
    lengths = run_lengths.frPyObjects(
        [{"size": [height, width], "counts": part.tolist()} for part in counts], height, width
    )
    measured = zip(
        objects.classes.tolist(),
        lengths,
        runs.total(runs.right - runs.left + 1).tolist(),  # pycocotools fails for over 255
        run_lengths.toBbox(lengths).tolist(),
        strict=True,
    )
    return [
        {
            "id": number,
            "image_id": 1,
            "category_id": label,
            "segmentation": {"size": [height, width], "counts": part["counts"].decode("ascii")},
            "area": area,
            "bbox": box,
            "iscrowd": 0,
            "score": round(result.score, 6),
        }
        for number, (label, part, area, box) in enumerate(measured, 1)
    ]


def decode_run_lengths(segmentation: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Return the (H, W) pixels of COCO run lengths; SettingsError as ``encode_coco``."""
    OutputSettings("coco").check()
    from pycocotools import mask as run_lengths

    if isinstance(segmentation["counts"], list):
        segmentation = run_lengths.frPyObjects(segmentation, *segmentation["size"])
    return np.asarray(run_lengths.decode(segmentation), bool)


def _categories(spec: CascadeSpec) -> list[dict[str, Any]]:
    """Return the foreground classes; a category's id is its class index."""
    return [{"id": label, "name": name} for label, name in enumerate(spec.classes) if label > 0]


def assemble_coco(file: IO[bytes], paths: Iterable[Path], spec: CascadeSpec) -> None:
    """Write one COCO file from those of the images, holding one of them in memory at a time."""
    images, annotations = [], 0
    file.write(b'{"categories": ' + json.dumps(_categories(spec)).encode() + b', "annotations": [')
    for number, path in enumerate(paths, 1):
        values = json.loads(path.read_bytes())
        images.append({**values["images"][0], "id": number})
        for annotation in values["annotations"]:
            annotations += 1
            line = json.dumps({**annotation, "id": annotations, "image_id": number})
            file.write((",\n" if annotations > 1 else "\n").encode() + line.encode())
    file.write(b'\n], "images": ' + json.dumps(images).encode() + b"}\n")
