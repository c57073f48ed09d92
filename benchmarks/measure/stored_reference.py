"""Reference masks computed on another machine: ``--reference FOLDER`` of the benchmarks.

A folder is a data set (``images/``, and ``masks/`` with the truth) with the reference's masks in
``reference/`` and ``reference.json``: which weights and which cascade made them, and the box and
the sha256 of each image's pixels. PyTorch is needed where the folder is written, and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from foveate.benchmarks.measure.images import Images
from foveate.benchmarks.measure.parity import Box, Reference
from foveate.benchmarks.schema.result_files import write_result
from foveate.runtime.arrays import Pixels
from foveate.runtime.bundle.bundle import WEIGHTS, Bundle, graph_name
from foveate.runtime.errors import BundleError, DataError
from foveate.runtime.io.overlay import write_picture
from foveate.runtime.io.png import write_mask
from foveate.runtime.json_files import canonical_sha256, check_shape, read_json
from foveate.runtime.result import Mask

SCHEMA = 1
INDEX = "reference.json"
_SHAPE = {
    "schema": int,
    "reference": str,
    "bundle": {"weights_sha256": str, "cascade_sha256": str},
    "images": dict,
}
_IMAGE = {"sha256": str, "size": [int], "box": [[float]]}


def identity(bundle: Bundle) -> dict[str, str]:
    """Return what decides a bundle's masks: the file of its weights, and the cascade."""
    manifest = bundle.manifest
    files = manifest["files"]
    weights = files[WEIGHTS if WEIGHTS in files else graph_name("fp32")]
    return {
        "weights_sha256": str(weights["sha256"]),
        "cascade_sha256": canonical_sha256(dict(manifest["cascade"])),
    }


def write_reference(
    folder: Path,
    bundle: Bundle,
    images: Images,
    reference: Reference,
    progress: Callable[[int, int], object],
) -> None:
    """Write images, truths and the reference's masks to a new folder."""
    classes, written = len(bundle.spec.classes), {}
    for part in ("images", "masks", "reference"):
        (folder / part).mkdir(parents=True)
    for number, case in enumerate(images):
        if case.truth is None:
            raise DataError(f"{case.name} has no mask; expected a data set with masks/")
        mask, box = reference.segment(case.image)
        stem = case.name.replace(" ", "-")
        path, image = folder / "images" / f"{stem}.png", case.image
        if image.ndim == 3 and image.shape[2] != 3:
            raise DataError(f"{case.name} has {image.shape[2]} channels; expected grey or rgb")
        blue_first = image[..., ::-1] if image.ndim == 3 else image
        write_picture(path, blue_first, cv2.IMWRITE_PNG_COMPRESSION, 9)
        write_mask(folder / "masks" / path.name, case.truth, classes)
        write_mask(folder / "reference" / path.name, mask, classes)
        written[stem] = {
            "sha256": pixels_sha256(case.image),
            "size": list(image.shape[:2]),
            "box": box.reshape(-1, 4).tolist(),
        }
        progress(number + 1, len(images))
    values = {
        "schema": SCHEMA,
        "reference": f"{reference.name}, stored",
        "bundle": identity(bundle),
        "images": written,
    }
    write_result(folder / INDEX, values)


def stored_sizes(folder: Path) -> str:
    """Return a folder's image sizes, the usual first, as ``foveate build --size`` takes them."""
    images = read_json(folder / INDEX, "a folder of reference masks")["images"].values()
    found = Counter("x".join(map(str, item["size"])) for item in images)
    return ",".join(size for size, _ in found.most_common())


def stored_reference(folder: Path, bundle: Bundle) -> Reference:
    """Return the reference of a folder; its masks are found by an image's pixels.

    BundleError where another bundle made the masks; DataError for an image it has no mask of.
    """
    index = folder / INDEX
    values = read_json(index, "a folder of reference masks (make gpu-references)")
    check_shape(index, values, _SHAPE)
    if values["schema"] != SCHEMA:
        raise BundleError(f"{index}: schema {values['schema']}; this version reads {SCHEMA}")
    check_shape(index, values["images"], dict.fromkeys(values["images"], _IMAGE), "images")
    if values["bundle"] != identity(bundle):
        raise BundleError(
            f"{index}: these masks were made with other weights or another cascade than "
            f"{bundle.path} has; write them again with this bundle (make gpu-references)"
        )
    by_pixels = {item["sha256"]: (stem, item["box"]) for stem, item in values["images"].items()}

    def segment(image: Pixels) -> tuple[Mask, Box]:
        stem, box = by_pixels.get(pixels_sha256(image), ("", None))
        if not stem:
            raise DataError(f"{folder} has no mask of this image; take the images in {folder}")
        return _mask(folder / "reference" / f"{stem}.png", image), np.array(box, np.float32)

    return Reference(values["reference"], segment)


def pixels_sha256(image: Pixels) -> str:
    """Return the sha256 of an image's type, size and pixels."""
    digest = hashlib.sha256(f"{image.dtype} {image.shape}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _mask(path: Path, image: Pixels) -> Mask:
    """Return a mask that ``write_mask`` wrote, as (H, W) uint8 class indices."""
    try:
        with Image.open(path) as opened:
            mask: Any = np.asarray(opened).astype(np.uint8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if mask.shape != image.shape[:2]:
        raise DataError(f"{path} is {mask.shape}; expected {image.shape[:2]}, as the image is")
    found: Mask = mask
    return found
