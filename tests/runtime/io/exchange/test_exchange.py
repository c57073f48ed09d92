"""Annotations, read back as their tools understand them: the mask again, object by object."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from foveate.runtime.io.exchange.registry import assemble_annotations
from foveate.runtime.io.outputs import OutputSettings, write_outputs
from foveate.runtime.objects.labels import label_objects
from foveate.runtime.result import Result
from foveate.train.convert.dataset import fill
from tests.drawing import small_spec, speckled

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""pycocotools 2.0.11 decodes by a way that numpy 2 warns of; encoding does not."""
Mask = npt.NDArray[np.uint8]
SPEC = small_spec(classes=2)
HOLES = np.zeros((60, 80), np.uint8)
HOLES[5:40, 5:40] = 1
HOLES[10:30, 10:30] = 0
HOLES[15:20, 15:20] = 2
HOLES[40:50, 40:60] = 1
HOLES[40:50, 60:80] = 2
HOLES[55, 3] = 1
"""A ring around another class, corners and classes that touch, one pixel, the border."""
MASKS = [HOLES, np.ones((7, 9), np.uint8), np.zeros((5, 4), np.uint8), np.ones((1, 1), np.uint8)]
MASKS += [np.kron(np.ones((20, 20), np.uint8), np.array([[1, 0], [0, 0]], np.uint8))]
MASKS += [speckled(seed, 0.5) for seed in range(5)]


def written(folder: Path, kind: str, mask: Mask, name: str = "a", source: str = "") -> Path:
    result = Result(mask, np.array([[0, 0, 1, 1]], np.float32), 0.875)
    settings = OutputSettings(kind)
    write_outputs(settings, folder, name, np.zeros_like(mask), result, SPEC, source)
    return folder / settings.names(name)[0]


def check_objects(mask: Mask, found: Iterator[tuple[str, npt.NDArray[Any]]]) -> None:
    """Compare named masks with the objects of a mask, in their order."""
    objects = label_objects(mask)
    for number, label in enumerate(objects.classes, 1):
        name, inside = next(found)
        assert name == SPEC.classes[label]
        np.testing.assert_array_equal(inside, objects.numbers == number)
    assert not list(found)


def coco_of(path: Path) -> Any:
    """The file as pycocotools' own reader understands it; it prints as it goes."""
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("mask", MASKS)
def test_coco_has_the_run_lengths_of_each_object(tmp_path: Path, mask: Mask) -> None:
    coco = coco_of(written(tmp_path, "coco", mask))
    height, width = mask.shape
    image = {"id": 1, "file_name": "a", "height": height, "width": width}
    assert coco.loadImgs([1]) == [image]
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert names == {1: "class 1", 2: "class 2"}
    annotations = coco.loadAnns(coco.getAnnIds([1]))
    inside = [coco.annToMask(annotation) for annotation in annotations]
    check_objects(mask, zip((names[a["category_id"]] for a in annotations), inside, strict=True))
    for annotation, pixels in zip(annotations, inside, strict=True):
        rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
        box = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box and annotation["area"] == pixels.sum()
        assert annotation["score"] == 0.875 and annotation["iscrowd"] == 0


@pytest.mark.parametrize("mask", MASKS)
def test_geojson_has_valid_polygons_in_pixels(tmp_path: Path, mask: Mask) -> None:
    """Valid as JTS, which QuPath reads by, has it: closed simple rings, holes in their polygon."""
    values = json.loads(written(tmp_path, "geojson", mask).read_bytes())
    assert values["type"] == "FeatureCollection"

    def objects() -> Iterator[tuple[str, Mask]]:
        for feature in values["features"]:
            assert feature["type"] == "Feature"
            assert feature["properties"]["objectType"] == "annotation"
            geometry = feature["geometry"]
            polygons = geometry["coordinates"]
            if geometry["type"] == "Polygon":
                polygons = [polygons]
            else:
                assert geometry["type"] == "MultiPolygon" and len(polygons) > 1
            inside = np.zeros_like(mask)
            for outer, *holes in polygons:
                part = filled(outer, mask.shape)
                for hole in holes:
                    assert (filled(hole, mask.shape) <= part).all()
                    part -= filled(hole, mask.shape)
                inside += part  # parts do not overlap, or this would exceed 1
            yield feature["properties"]["classification"]["name"], inside

    check_objects(mask, objects())


def filled(ring: list[list[int]], shape: tuple[int, ...]) -> Mask:
    corners = [tuple(corner) for corner in ring[:-1]]
    assert ring[0] == ring[-1] and len(set(corners)) == len(corners) >= 4
    mask = np.zeros(shape, np.uint8)
    fill(mask, np.ravel(corners).tolist(), 1)
    return mask


@pytest.mark.parametrize("mask", MASKS)
def test_label_studio_has_a_task_with_polygons_in_percent(tmp_path: Path, mask: Mask) -> None:
    path = written(tmp_path, "label-studio", mask, "sub/a b", "/data/scans/sub/a b.tif")
    [task] = json.loads(path.read_bytes())
    assert task["data"] == {"image": "/data/local-files/?d=scans/sub/a%20b.tif"}
    [prediction] = task["predictions"]
    assert prediction["score"] == 0.875
    height, width = mask.shape

    def objects() -> Iterator[tuple[str, Mask]]:
        for region in prediction["result"]:
            assert region["type"] == "polygonlabels" and region["image_rotation"] == 0
            assert (region["from_name"], region["to_name"]) == ("label", "image")
            assert (region["original_width"], region["original_height"]) == (width, height)
            points = np.array(region["value"]["points"])
            assert points.min() >= 0 and points.max() <= 100
            inside = np.zeros_like(mask)
            fill(inside, (points * (width / 100, height / 100)).ravel().tolist(), 1)
            [name] = region["value"]["polygonlabels"]
            yield name, inside

    assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])
    check_objects(mask, objects())


def test_polygons_are_filled_alike_by_pycocotools(tmp_path: Path) -> None:
    """So corners are where COCO has them too: three objects without holes, of known areas."""
    from pycocotools import mask as run_lengths

    [task] = json.loads(written(tmp_path, "label-studio", HOLES).read_bytes())
    points = [
        np.multiply(region["value"]["points"], (80 / 100, 60 / 100)).ravel().round(6).tolist()
        for region in task["predictions"][0]["result"]
        if len(region["value"]["points"]) == 4
    ]
    filled = [run_lengths.frPyObjects([corners], 60, 80) for corners in points]
    assert [int(run_lengths.area(lengths)[0]) for lengths in filled] == [1, 25, 200]


def test_labelme_fills_its_polygons_to_the_same_mask(tmp_path: Path) -> None:
    """As labelme does: Pillow's polygon with an outline, which fills what it touches."""
    values = json.loads(written(tmp_path, "labelme", HOLES).read_bytes())
    picture = Image.new("L", (80, 60))
    for shape in values["shapes"]:
        label = SPEC.classes.index(shape["label"])
        corners = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(picture).polygon(corners, outline=label, fill=label)
    found = np.asarray(picture)
    differing = np.count_nonzero(found != HOLES)
    assert differing <= 0.005 * np.count_nonzero(HOLES)


def test_labelme_refers_to_the_image_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "scans/sub").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    source = str(tmp_path / "scans/sub/a.tif")
    values = json.loads(written(tmp_path / "out", "labelme", HOLES, "sub/a", source).read_bytes())
    assert values["imagePath"] == "../../../scans/sub/a.tif" and values["imageData"] is None
    assert (values["imageHeight"], values["imageWidth"]) == HOLES.shape
    assert {"version", "flags", "shapes"} < set(values)
    for shape in values["shapes"]:
        assert shape["shape_type"] == "polygon" and shape["label"] in SPEC.classes
        assert {"points", "group_id", "flags"} < set(shape) and len(shape["points"]) >= 3


def test_touching_objects_are_annotated_apart_when_split(tmp_path: Path) -> None:
    mask = np.zeros((40, 80), np.uint8)
    for x in (20, 54):
        mask |= np.uint8(np.hypot(*np.mgrid[-20:20, -x : 80 - x]) < 19)
    result = Result(mask, np.array([[0, 0, 80, 40]], np.float32), 1.0)
    for split, count in ((None, 1), ("touching", 2)):
        settings = OutputSettings("geojson", split=split)
        settings.check()
        write_outputs(settings, tmp_path, "a", mask, result, SPEC)
        assert len(json.loads((tmp_path / "a.geojson").read_bytes())["features"]) == count


@pytest.mark.parametrize("kind", ["coco", "label-studio"])
def test_all_images_are_in_one_file_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    blank, single = np.zeros((4, 5), np.uint8), np.full((4, 5), 2, np.uint8)
    places = {"sub/c": single, "b": HOLES, "a": blank}
    paths = {
        name: written(tmp_path, kind, mask, name, f"/scans/{name}.tif")
        for name, mask in places.items()
    }
    lines = [{"mask": path.relative_to(tmp_path).as_posix()} for path in paths.values()]
    assemble_annotations(kind, tmp_path, [*lines, lines[0]], SPEC, ".1-of-2")
    if kind == "coco":
        coco = coco_of(tmp_path / "annotations.1-of-2.json")
        images = {image["id"]: image["file_name"] for image in coco.loadImgs(coco.getImgIds())}
        assert images == {1: "a.tif", 2: "b.tif", 3: "sub/c.tif"}
        counts = [len(coco.getAnnIds([number])) for number in images]
        last = coco.loadAnns(coco.getAnnIds([3]))[0]
        np.testing.assert_array_equal(coco.annToMask(last) * 2, single)
    else:
        tasks = json.loads((tmp_path / "tasks.1-of-2.json").read_bytes())
        addresses = [task["data"]["image"].split("=")[1] for task in tasks]
        assert addresses == ["scans/a.tif", "scans/b.tif", "scans/sub/c.tif"]
        counts = [len(task["predictions"][0]["result"]) for task in tasks]
    assert counts == [0, len(label_objects(HOLES).classes), 1]
    assemble_annotations(kind, tmp_path, [], SPEC)
    empty = json.loads(next(tmp_path.glob("[at]*s.json")).read_bytes())
    assert not (empty["images"] if kind == "coco" else empty)
