"""Read annotations: COCO, labelme, and text files of YOLO segmentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.errors import DataError, ImageError
from foveate.runtime.io.formats.headers import read_header, stem_of
from foveate.runtime.io.images import image_paths

Segmentation = Sequence[Sequence[float]] | Mapping[str, Any]
"""As in COCO: polygons x0, y0, x1, y1, ... in pixels, or run lengths: ``size``, ``counts``."""


@dataclass(frozen=True)
class Annotated:
    """An image and its objects, class and shape of each, those on top last.

    ``name`` is the path that names it; ``size`` is the height and width that the annotations state.
    """

    path: Path
    name: str
    size: tuple[int, int]
    objects: list[tuple[str, Segmentation]]


def read_annotations(source: Path, images: Path | None) -> tuple[list[str], list[Annotated]]:
    """Return the classes, in the order of their labels from 1, and the images.

    ``source`` is a COCO file, a folder of labelme files, or one with ``labels`` and ``images`` of
    YOLO. ``images`` is where COCO's images are, by default next to the file. DataError says what
    is malformed, or cannot become a mask.
    """
    if source.is_file():
        return _coco(source, images or source.parent)
    if (source / "labels").is_dir():
        return _yolo(source)
    files = sorted(source.glob("*.json"))
    if not files:
        raise DataError(
            f"{source}: expected a COCO file, a folder of labelme's JSON files, or a folder with "
            "labels/*.txt and images/ of YOLO"
        )
    found = [_labelme(path) for path in files]
    return sorted({name for image in found for name, _ in image.objects}), found


def _coco(path: Path, folder: Path) -> tuple[list[str], list[Annotated]]:
    values = _json(path)
    try:
        categories = sorted(values["categories"], key=lambda entry: entry["id"])
        names = {entry["id"]: str(entry["name"]) for entry in categories}
        found = {
            entry["id"]: Annotated(
                folder / entry["file_name"],
                entry["file_name"],
                (entry["height"], entry["width"]),
                [],
            )
            for entry in values["images"]
        }
        for entry in values["annotations"]:
            if not entry.get("segmentation"):
                raise DataError(
                    f"{path}: annotation {entry['id']} has no segmentation; a box is not a mask"
                )
            named = names[entry["category_id"]], entry["segmentation"]
            found[entry["image_id"]].objects.append(named)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not a COCO file: {type(error).__name__} {error}") from error
    return list(dict.fromkeys(names.values())), list(found.values())


def _labelme(path: Path) -> Annotated:
    values = _json(path)
    try:
        image = path.parent / values["imagePath"].replace("\\", "/")
        size = values["imageHeight"], values["imageWidth"]
        objects = [(str(entry["label"]), _shape(path, entry)) for entry in values["shapes"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: is not a labelme file: {type(error).__name__} {error}") from error
    return Annotated(image, f"{path.stem}{image.suffix}", size, objects)


def _shape(path: Path, entry: Mapping[str, Any]) -> Segmentation:
    kind, points = entry.get("shape_type", "polygon"), entry["points"]
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        return [[left, top, right, top, right, bottom, left, bottom]]
    if kind != "polygon":
        raise DataError(f"{path}: has a shape of type {kind}; expected polygon or rectangle")
    return [[value for point in points for value in point]]


def _yolo(root: Path) -> tuple[list[str], list[Annotated]]:
    names = _yolo_names(root)
    folders = [root / "images", *sorted(p for p in (root / "images").rglob("*") if p.is_dir())]
    found = []
    for image in (path for folder in folders if folder.is_dir() for path in image_paths(folder)):
        name = image.relative_to(root / "images")
        labels = root / "labels" / name.with_name(f"{stem_of(image)}.txt")
        lines = labels.read_text(encoding="utf-8").splitlines() if labels.is_file() else []
        try:
            header = read_header(image)
            objects = [_yolo_object(line, names, header.width, header.height) for line in lines]
        except ImageError as error:
            raise DataError(f"{image}: {error}") from error
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{labels}: {error}; expected the class index and x y of three corners or more on "
                "each line, between 0 and 1"
            ) from error
        found.append(Annotated(image, name.as_posix(), (header.height, header.width), objects))
    return names, found


def _yolo_object(
    line: str, names: Sequence[str], width: int, height: int
) -> tuple[str, Segmentation]:
    label, *values = line.split()
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers follow class {label}")
    if not 0 <= int(label) < len(names):
        raise ValueError(f"class {label} has no name in data.yaml or classes.txt")
    scaled = [float(value) * (height if at % 2 else width) for at, value in enumerate(values)]
    return names[int(label)], [scaled]


def _yolo_names(root: Path) -> list[str]:
    """Return the names in ``classes.txt``, or the list or table in ``data.yaml``."""
    for path in (root / "classes.txt", root / "data.yaml"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            break
    else:
        raise DataError(f"{root}: expected the names of classes in classes.txt or data.yaml")
    if path.name == "classes.txt":
        return [line.strip() for line in text.splitlines() if line.strip()]
    listed = re.search(r"^names:\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    table = re.search(r"^names:.*\n((?:[ \t]*(?:-|\d+:).*\n?)+)", text, re.MULTILINE)
    if listed:
        entries = listed[1].split(",")
    elif table:
        entries = table[1].strip().splitlines()
    else:
        raise DataError(f"{path}: expected names: and a list of classes")
    return [re.sub(r"^\s*(?:-|\d+:)", "", entry).strip(" \t\n'\"") for entry in entries]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
