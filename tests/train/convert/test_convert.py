"""Annotations become a data set: what foveate writes comes back, and what is malformed is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from foveate.runtime.errors import DataError, SettingsError
from foveate.runtime.io.exchange.registry import assemble_annotations
from foveate.runtime.io.outputs import OutputSettings, write_outputs
from foveate.runtime.objects.labels import label_objects
from foveate.runtime.objects.outlines import joined, outlines
from foveate.runtime.result import Result
from foveate.train.convert.dataset import convert_annotations
from foveate.train.data.dataset import DataSet, load_dataset
from foveate.train.data.masks import read_mask
from tests.conftest import run
from tests.drawing import small_spec, speckled

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MASKS = {
    "a": speckled(1, 0.6),
    "b": speckled(2, 0.97),
    "sub/a": speckled(3, 0.3),
    "none": np.zeros((6, 5), np.uint8),
}
STEMS = {name: name.replace("/", "_") for name in MASKS}
SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]


def converted(source: Path, out: Path, images: Path | None = None) -> DataSet:
    convert_annotations(source, out, images, lambda done, total: None)
    return load_dataset(out)


def check_masks(dataset: DataSet) -> None:
    assert set(dataset.stems) == set(STEMS.values()) and dataset.classes == 2
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(read_mask(dataset.masks[STEMS[name]].path), mask)


def write_images(folder: Path) -> None:
    for name, mask in MASKS.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), mask * np.uint8(90))


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_what_foveate_writes_comes_back_exactly(tmp_path: Path, kind: str) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    write_images(scans)
    settings, spec = OutputSettings(kind), small_spec(classes=2)
    out.mkdir()
    lines = []
    for name, mask in MASKS.items():
        target = name if kind == "coco" else STEMS[name]  # a folder of labelme files is flat
        result = Result(mask, np.array([[0, 0, 1, 1]], np.float32), 1.0)
        write_outputs(settings, out, target, mask, result, spec, str(scans / f"{name}.png"))
        lines.append({"mask": settings.names(target)[0]})
    assemble_annotations(kind, out, lines, spec)
    source = out / "annotations.json" if kind == "coco" else out / "labelme"
    check_masks(converted(source, tmp_path / "data", scans))
    copied = (tmp_path / "data/images/sub_a.png").read_bytes()
    assert copied == (scans / "sub/a.png").read_bytes()


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("classes.txt", "one\ntwo\n"),
        ("data.yaml", "train: images\nnames:  # all\n  0: one\n  1: two\nnc: 2\n"),
        ("data.yaml", "names:\n- one\n- 'two'\n"),
        ("data.yaml", "nc: 2\nnames: ['one', \"two\"]\n"),
    ],
)
def test_polygons_of_yolo_become_masks(tmp_path: Path, file: str, names: str) -> None:
    root = tmp_path / "yolo"
    write_images(root / "images")
    (root / file).write_text(names)
    for name, mask in MASKS.items():
        objects = label_objects(mask)
        lines = [
            " ".join([str(label - 1), *map(str, (joined(rings) / mask.shape[::-1]).ravel())])
            for rings, label in zip(outlines(objects.numbers), objects.classes, strict=True)
        ]
        path = root / f"labels/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines:  # an image without objects has no file
            path.write_text("\n".join(lines) + "\n")
    check_masks(converted(root, tmp_path / "data"))
    done = run("convert", root, tmp_path / "again")
    assert done.exception is None and "Classes: 1 one, 2 two." in done.output
    assert "1 images without any" in done.output and "class_names=one,two" in done.output


def coco(
    folder: Path, *annotations: Any, height: int = 4, names: tuple[str, ...] = ("x", "y")
) -> Path:
    """Write an image of 6 x 4 and a COCO file of it; categories have the ids 7, 9, ..."""
    cv2.imwrite(str(folder / "a.png"), np.zeros((4, 6), np.uint8))
    values = {
        "images": [{"id": 3, "file_name": "a.png", "width": 6, "height": height}],
        "categories": [{"id": 7 + 2 * at, "name": name} for at, name in enumerate(names)],
        "annotations": [
            {"id": at, "image_id": 3, "category_id": label, "segmentation": segmentation}
            for at, (label, segmentation) in enumerate(annotations)
        ],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps(values))
    return path


def test_of_objects_that_overlap_the_later_one_counts(tmp_path: Path) -> None:
    runs = {"size": [4, 6], "counts": [0, 6, 18]}  # the first column, and half of the next
    path = coco(
        tmp_path,
        (9, [SQUARE]),
        (7, [[2, 0, 6, 0, 6, 2, 2, 2], [0, 3, 1, 3, 1, 4, 0, 4]]),
        (9, runs),
    )
    dataset = converted(path, tmp_path / "data")
    assert read_mask(dataset.masks["a"].path).tolist() == [
        [2, 2, 1, 1, 1, 1], [2, 2, 1, 1, 1, 1], [2, 2, 2, 2, 0, 0], [2, 0, 0, 0, 0, 0]
    ]  # fmt: skip


def test_a_rectangle_of_labelme_is_filled(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 6), np.uint8))
    shape = {"label": "x", "shape_type": "rectangle", "points": [[4.2, 3], [1, 1]]}
    values = {"imagePath": "a.png", "imageHeight": 4, "imageWidth": 6, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    found = cv2.imread(str(converted_mask(tmp_path)), cv2.IMREAD_UNCHANGED)
    assert np.argwhere(found).min(axis=0).tolist() == [1, 1] and found.astype(bool).sum() == 6
    shape["shape_type"] = "circle"
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="a shape of type circle; expected polygon or rectangle"):
        convert_annotations(tmp_path, tmp_path / "more", None, lambda done, total: None)


def converted_mask(source: Path) -> Path:
    convert_annotations(source, source / "data", None, lambda done, total: None)
    return source / "data/masks/a.png"


@pytest.mark.parametrize(
    ("annotation", "height", "names", "said"),
    [
        ((7, []), 4, "xy", "annotation 0 has no segmentation; a box is not a mask"),
        ((8, [SQUARE]), 4, "xy", "is not a COCO file: KeyError 8"),
        ((7, [SQUARE[:-1]]), 4, "xy", "a.png: a segmentation is malformed"),
        ((7, {"size": [6, 4], "counts": [24]}), 4, "xy", r"its size is \[6, 4\], the image's"),
        ((7, [SQUARE]), 6, "xy", "a.png: is 6x4, its annotations are for 6x6"),
        ((7, [SQUARE]), 4, [f"{n}" for n in range(255)], "has 255 classes and 1 images"),
    ],
)  # fmt: skip
def test_what_cannot_become_a_mask_is_named(
    tmp_path: Path, annotation: Any, height: int, names: Any, said: str
) -> None:
    path = coco(tmp_path, annotation, height=height, names=tuple(names))
    with pytest.raises(DataError, match=said):
        converted(path, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.2 0.2", "4 numbers follow class 0; expected the class index"),
        ("1 0 0 1 0 1 1", "class 1 has no name"),
        ("0 0 0 1 0 1 x", "could not convert"),
        ("", "expected the class index"),
    ],
)
def test_a_line_of_yolo_that_is_no_polygon_is_named(tmp_path: Path, line: str, said: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((4, 6), np.uint8))
    (tmp_path / "classes.txt").write_text("one\n")
    (tmp_path / "labels/a.txt").write_text(f"0 0 0 1 0 1 1\n{line}\n")
    with pytest.raises(DataError, match=said):
        converted(tmp_path, tmp_path / "data")


def test_images_that_are_missing_or_would_be_mixed_are_refused(tmp_path: Path) -> None:
    path = coco(tmp_path, (7, [SQUARE]))
    converted_to = tmp_path / "data"
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    with pytest.raises(DataError, match="--images FOLDER says where images are"):
        converted(path, converted_to)
    assert not converted_to.exists()
    (tmp_path / "b.png").rename(tmp_path / "a.png")
    converted_to.mkdir()
    convert_annotations(path, converted_to, None, lambda done, total: None)
    with pytest.raises(SettingsError, match="holds images already"):
        convert_annotations(path, converted_to, None, lambda done, total: None)
    with pytest.raises(DataError, match="expected a COCO file, a folder of labelme"):
        convert_annotations(converted_to, tmp_path / "more", None, lambda done, total: None)
