"""Masks computed beforehand on another machine, so that a GPU is held against PyTorch on a CPU.

A folder: ``references.json`` and, for each set, a data set (``images/``, ``masks/`` with the truth)
and beside it ``reference/``, the masks of the PyTorch fp32 cascade. The bundle of the phantoms is
carried along; those of the other sets are named by their path in the checkout.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from foveate.benchmarks.images import Images
from foveate.benchmarks.parity import Box, Reference, Segment, parity_row
from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle import MANIFEST, WEIGHTS, Bundle, open_bundle
from foveate.runtime.errors import BundleError, DataError
from foveate.runtime.hashes import canonical_sha256
from foveate.runtime.image_files import read_image
from foveate.runtime.json_files import check_shape, read_json
from foveate.runtime.mask_files import write_mask
from foveate.runtime.overlap import Disagreement, Mask, compare_masks, moved
from foveate.train.dataset import Case

SCHEMA = 1
INDEX = "references.json"
_SET = {"name": str, "bundle": str, "carried": bool, "identity": dict, "images": dict}
_SHAPE = {"schema": int, "reference": str, "created": str, "sets": [_SET]}


@dataclass(frozen=True)
class Expected:
    """One image with its truth, and what PyTorch made of it."""

    case: Case
    mask: Mask
    box: Box


@dataclass(frozen=True)
class ReferenceSet:
    """The images of one bundle with their reference masks; ``bundle`` is verified."""

    name: str
    reference: str
    bundle: Bundle
    sizes: tuple[tuple[int, int], ...]
    load: Callable[[], Sequence[Expected]]


def identity(bundle: Bundle) -> dict[str, str]:
    """Return what decides a bundle's masks: its weights, and the cascade around them."""
    manifest = bundle.manifest
    return {
        "weights_sha256": str(manifest["files"][WEIGHTS]["sha256"]),
        "cascade_sha256": canonical_sha256(dict(manifest["cascade"])),
    }


def write_set(
    folder: Path,
    bundle: Bundle,
    images: Images,
    reference: Reference,
    progress: Callable[[int, int], object],
) -> dict[str, Any]:
    """Write images, truths and reference masks to a folder; return boxes and sizes by name."""
    classes, written = len(bundle.spec.classes), {}
    parts = {name: folder / name for name in ("images", "masks", "reference")}
    for part in parts.values():
        part.mkdir(parents=True)
    for number, case in enumerate(images):
        mask, box = reference.segment(case.image)
        name = f"{case.name.replace(' ', '-')}.png"
        cv2.imwrite(str(parts["images"] / name), case.image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        assert case.truth is not None, "a data set and phantoms have truths"
        write_mask(parts["masks"] / name, case.truth, classes)
        write_mask(parts["reference"] / name, mask, classes)
        written[Path(name).stem] = {
            "box": box.ravel().tolist(),
            "size": list(case.image.shape),
        }
        progress(number + 1, len(images))
    return written


def entry(name: str, bundle: Bundle, path: str, carried: bool, images: Any) -> dict[str, Any]:
    """Return a set as ``references.json`` has it; ``images`` is what ``write_set`` returned."""
    return {
        "name": name,
        "bundle": path,
        "carried": carried,
        "identity": identity(bundle),
        "images": images,
    }


def carry_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy every file that a bundle's manifest lists, and the manifest."""
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(bundle.manifest_bytes)
    for name in bundle.manifest["files"]:
        (folder / name).write_bytes(bundle.read(name))


def write_index(folder: Path, reference: str, created: str, sets: Sequence[Any]) -> None:
    values = {"schema": SCHEMA, "reference": reference, "created": created, "sets": list(sets)}
    text = json.dumps(values, indent=1) + "\n"
    write_atomically(folder / INDEX, lambda file: file.write(text.encode()))


def read_references(folder: Path, checkout: Path) -> list[ReferenceSet]:
    """Return the sets of a folder; BundleError when one was made of another bundle."""
    path = folder / INDEX
    values = read_json(path, "a folder made by make gpu-references")
    check_shape(path, values, _SHAPE)
    if values["schema"] != SCHEMA:
        raise BundleError(f"{path}: schema {values['schema']}; this version reads {SCHEMA}")
    return [_set(folder, checkout, values["reference"], item) for item in values["sets"]]


def _set(folder: Path, checkout: Path, reference: str, item: dict[str, Any]) -> ReferenceSet:
    relative = Path(item["bundle"])
    if relative.is_absolute() or ".." in relative.parts or "/" in item["name"]:
        raise BundleError(f"{folder / INDEX}: {item['bundle']} leaves its folder")
    bundle = open_bundle((folder if item["carried"] else checkout) / relative)
    if identity(bundle) != item["identity"]:
        raise BundleError(
            f"{folder / INDEX}: the masks of {item['name']} were made with another bundle than "
            f"{bundle.path}; make them again: make gpu-references"
        )
    sizes = tuple((image["size"][0], image["size"][1]) for image in item["images"].values())
    return ReferenceSet(
        item["name"],
        reference,
        bundle,
        sizes,
        lambda: _expected(folder / item["name"], item["images"]),
    )


def _expected(folder: Path, images: Mapping[str, Any]) -> list[Expected]:
    stems = {path.stem for path in (folder / "images").glob("*.png")}
    if stems != set(images):
        raise DataError(f"{folder}: its images are not those of {INDEX}; copy the folder again")
    return [
        Expected(
            Case(stem, read_image(folder / "images" / f"{stem}.png"), _mask(folder, "masks", stem)),
            _mask(folder, "reference", stem),
            np.array(images[stem]["box"], np.float32),
        )
        for stem in sorted(images)
    ]


def _mask(folder: Path, part: str, stem: str) -> Mask:
    """Return a mask that ``write_mask`` wrote, as (H, W) uint8 class indices."""
    with Image.open(folder / part / f"{stem}.png") as image:
        return np.asarray(image).astype(np.uint8)


def judged(
    segment: Segment, expected: Sequence[Expected], precision: str, reference: str
) -> dict[str, Any]:
    """Return the parity of a way to segment, as the result files have it."""
    total = Disagreement()
    for item in expected:
        case = item.case
        found, box = segment(case.image)
        total.add(compare_masks(case.name, found, item.mask, moved(box, item.box), case.truth))
    return parity_row(reference, precision, total)
