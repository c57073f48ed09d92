"""A TIFF of several pages: every page an image with a mask of its own."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import ImageError
from foveate.runtime.io.formats.headers import read_header
from foveate.runtime.io.formats.tiff.pages import page_count
from foveate.runtime.io.images import image_in_memory, read_image
from foveate.runtime.io.inputs import find_items
from tests.conftest import run
from tests.runtime.io.tiffs import imagej

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def pages(path: Path, *images: Image.Image, **options: object) -> Path:
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def test_every_page_is_an_item(tmp_path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[:3].astype(np.uint16) * 273)
    third = Image.new("RGB", (9, 4), (120, 120, 120))
    for compression in ("raw", "tiff_lzw"):
        path = pages(tmp_path / f"{compression}.tif", first, second, third, compression=compression)
        items = find_items([str(path)], tmp_path / "out")
        assert [(item.name, item.page) for item in items] == [
            (f"{compression}.p{page}", page) for page in (1, 2, 3)
        ]
        found = [read_image(item.path, item.page) for item in items]
        np.testing.assert_array_equal(found[0], GREY)
        np.testing.assert_array_equal(found[1], GREY[:3].astype(np.uint16) * 273)
        assert found[2].shape == (4, 9) and (found[2] == 120).all()
        headers = [read_header(item.path, item.page) for item in items]
        assert [(header.height, header.width) for header in headers] == [(6, 8), (3, 8), (4, 9)]
    with pytest.raises(ImageError, match="has 3 pages"):
        read_image(path)
    with pytest.raises(ImageError, match="page 4 is not there"):
        read_image(path, 4)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_of_any_layout(tmp_path: Path, bigtiff: bool) -> None:
    shots = [Image.fromarray(GREY + shift) for shift in range(30)]
    path = pages(tmp_path / "a.tif", *shots, big_tiff=bigtiff)
    assert page_count(path) == 30 and path.read_bytes()[2] == (43 if bigtiff else 42)
    np.testing.assert_array_equal(read_image(path, 30), GREY + 29)


def test_16_bit_colour_pages_keep_their_depth(tmp_path: Path) -> None:
    values = (10_000, 40_000)
    cv2.imwritemulti(
        str(tmp_path / "a.tif"), [np.full((4, 5, 3), value, np.uint16) for value in values]
    )
    for page, value in enumerate(values, 1):
        found = read_image(tmp_path / "a.tif", page)
        assert found.dtype == np.uint16 and np.abs(found.astype(int) - value).max() <= 1


def test_pages_and_files_of_one_name(tmp_path: Path) -> None:
    pages(tmp_path / "a.tif", Image.fromarray(GREY), Image.fromarray(GREY))
    (tmp_path / "a.p2.png").touch()
    items = find_items([str(tmp_path)], tmp_path / "out")
    assert [item.name for item in items] == ["a.p2.png", "a.tif.p1", "a.tif.p2"]


def test_what_cannot_be_counted_is_one_item(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    Image.fromarray(GREY).save(tmp_path / "one.tif")
    Image.fromarray(GREY).save(tmp_path / "png.tif", "PNG")
    items = find_items([str(tmp_path), str(tmp_path / "none.tif")], tmp_path / "out")
    assert sorted((item.name, item.page) for item in items) == [
        (stem, 0) for stem in ("folder", "none", "one", "pipe", "png", "text")
    ]


def test_a_damaged_page_fails_alone(bundle: Path, tmp_path: Path) -> None:
    shots = [Image.fromarray(np.full((80, 90), value, np.uint8)) for value in (10, 20, 30)]
    path = pages(tmp_path / "a.tif", *shots, compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        image.seek(1)
        place = image.tag_v2[273][0]  # type: ignore[attr-defined]
    data = bytearray(path.read_bytes())
    data[place + 4] ^= 0xFF
    path.write_bytes(data)
    result = run("segment", bundle, path, "--out", tmp_path / "out")
    assert result.return_value == 1 and "a.tif: page 2 is damaged: its header" in result.output
    masks = sorted(mask.name for mask in (tmp_path / "out").glob("*.png"))
    assert masks == ["a.p1.png", "a.p3.png"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_planes_of_a_stack_of_imagej(tmp_path: Path, dtype: type, order: str) -> None:
    planes = np.stack([GREY.astype(dtype) + shift for shift in range(5)])
    path = tmp_path / "a.tif"
    path.write_bytes(imagej(planes, order=order))
    items = find_items([str(path)], tmp_path / "out")
    assert [item.name for item in items] == [f"a.p{page}" for page in range(1, 6)]
    for item, plane in zip(items, planes, strict=True):
        np.testing.assert_array_equal(read_image(item.path, item.page), plane)
        assert str(read_header(item.path, item.page).pixel_size) == "0.5x0.25um"
    np.testing.assert_array_equal(image_in_memory(path.read_bytes(), 3), planes[2])
    with pytest.raises(ImageError, match="has 5 pages"):
        read_image(path)
    with pytest.raises(ImageError, match="page 6 is not there"):
        read_image(path, 6)


def test_a_page_that_was_saved_by_itself_is_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(imagej(GREY[None], stated=30))
    assert page_count(path) == 1
    np.testing.assert_array_equal(read_image(path), GREY)
    packed = Image.fromarray(GREY)
    packed.save(path, compression="tiff_lzw", description="ImageJ=1.54f\nimages=30\n")
    np.testing.assert_array_equal(read_image(path), GREY)
