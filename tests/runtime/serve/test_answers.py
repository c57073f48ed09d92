"""What ``foveate serve`` answers is what ``foveate segment`` writes, byte for byte."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.segment.concurrency import Concurrency
from tests.conftest import run
from tests.runtime.serve.served import Served, served, together
from tests.soak.folders import lines, spot


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in every format, of several sizes and depths."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(2)
    for name, height, width in (
        ("a.png", 64, 64), ("b.jpg", 97, 31), ("c.tif", 200, 120), ("d.bmp", 33, 50),
        ("e.webp", 75, 64), ("f.png", 1, 300),
    ):  # fmt: skip
        cv2.imwrite(str(folder / name), cv2.resize(spot(64, rng), (width, height)))
    cv2.imwrite(str(folder / "deep.png"), spot(80, rng).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "deep.tiff"), spot(81, rng).astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "colour.png"), np.dstack([spot(70, rng)] * 3))
    cv2.imwritemulti(str(folder / "stack.tif"), [spot(40 + page, rng) for page in range(3)])
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(spot(64, rng)[:, :50]).save(folder / "turned.jpg", exif=turned)
    return folder


@pytest.fixture(scope="module")
def masks(thresholds: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What segment writes of them."""
    out = tmp_path_factory.mktemp("masks")
    result = run("segment", thresholds, images, "--out", out, "--overlay")
    assert result.return_value == 0, result.output
    return out


@pytest.fixture(scope="module")
def there(thresholds: Path) -> Iterator[Served]:
    with served(thresholds) as found:
        yield found


def test_all_formats_as_segment_writes_them(
    there: Served, images: Path, masks: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for line in lines(masks):
        upload = Path(line["input"]).read_bytes()
        page = f"?page={line['page']}" if line["page"] else ""
        mask = (masks / line["mask"]).read_bytes()
        overlay = (masks / "overlays" / (line["mask"].removesuffix(".png") + ".jpg")).read_bytes()
        assert there.ask(f"/mask{page}", upload).body == mask
        assert there.ask(f"/overlay{page}", upload).body == overlay
        figures = json.loads(there.ask(f"/result{page}", upload).body)
        whole = json.loads(there.ask(f"/all{page}", upload, "PUT").body)
        for found in (figures, whole):
            assert set(found.pop("ms")) == {"h2d", "execute", "d2h"}
        assert figures == {name: line[name] for name in figures}
        assert {"area", "bundle", "engine", "mask_sha256", "flags"} < set(figures)
        assert base64.b64decode(whole.pop("mask_png")) == mask
        assert base64.b64decode(whole.pop("overlay_jpeg")) == overlay
        assert whole == figures
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_objects_and_threshold_are_as_segment_has_them(
    there: Served, thresholds: Path, images: Path, tmp_path: Path
) -> None:
    options = ("--threshold", "0.9", "--objects", "--probability")
    run("segment", thresholds, images / "c.tif", "--out", tmp_path, *options)
    upload, mask = (images / "c.tif").read_bytes(), (tmp_path / "c.png").read_bytes()
    assert there.ask("/mask?threshold=0.9", upload).body == mask != there.ask("/mask", upload).body
    whole = json.loads(there.ask("/all?objects=1&threshold=0.9", upload).body)
    assert base64.b64decode(whole["mask_png"]) == mask
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sides = ("left", "top", "right", "bottom")
    assert rows and whole["object_table"] == [
        {
            "object": int(row["object"]),
            "class": row["class"],
            "area_px": int(row["area_px"]),
            "box_xyxy": [int(row[f"box_{side}"]) for side in sides],
            "probability_mean": pytest.approx(float(row["probability_mean"]), abs=1e-6),
        }
        for row in rows
    ]
    dark = cv2.imencode(".png", np.zeros((64, 64), np.uint8))[1].tobytes()
    assert json.loads(there.ask("/result?objects=1", dark).body)["object_table"] == []


def test_every_answer_is_named_for_what_it_is(there: Served, images: Path) -> None:
    upload = (images / "a.png").read_bytes()
    kinds = {"/mask": "image/png", "/overlay": "image/jpeg", "/result": "application/json"}
    for path, kind in kinds.items():
        reply = there.ask(path, upload, Content_Type="image/png")
        assert reply.status == 200 and reply.headers["content-type"] == kind
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_page_needs_nothing_from_elsewhere(there: Served) -> None:
    reply = there.ask("/")
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)=\"?(?!data:)\w|https?://|@import|url\(", reply.text)
    assert 'type="file"' in reply.text and 'fetch("all?objects=1"' in reply.text
    bundle = there.queue.cascade.bundle.label
    assert f"<title>foveate: {bundle}, onnxruntime fp32</title>" in reply.text
    labels = f'bundle="{bundle}",engine="onnxruntime",precision="fp32",version="'
    assert f"foveate_info{{{labels}" in there.ask("/metrics").text


def test_health_and_metrics(there: Served, images: Path) -> None:
    assert there.ask("/health/live").text == "live\n"
    assert there.ask("/health/ready").text == "ready\n"
    kind = there.ask("/metrics").headers["content-type"]
    assert kind.startswith("text/plain; version=0.0.4")
    before = [there.metric(f"foveate_{name}") for name in ("requests_total", "batch_images_sum")]
    upload = (images / "a.png").read_bytes()
    for _ in range(3):
        assert there.ask("/mask", upload).status == 200
    assert there.ask("/mask", b"").status == 422
    after = [there.metric(f"foveate_{name}") for name in ("requests_total", "batch_images_sum")]
    assert [now - was for now, was in zip(after, before, strict=True)] == [3 + 1 + 2, 3]
    answered, timed = there.metric("foveate_requests_total"), "foveate_request_seconds_count"
    assert there.metric(timed) == answered + 1
    assert there.metric("foveate_queue_depth") == there.metric("foveate_images_at_work") == 0


def test_images_of_one_size_go_together(thresholds: Path, images: Path, masks: Path) -> None:
    upload, mask = (images / "a.png").read_bytes(), (masks / "a.png").read_bytes()
    with served(thresholds, plan=Concurrency(4, batch=4)) as there, ThreadPoolExecutor(8) as pool:
        replies = [reply.result() for reply in together(pool, there, [upload] * 24)]
        assert {reply.body for reply in replies} == {mask}
        assert there.metric("foveate_batch_images_sum") == 24
        assert there.metric("foveate_batch_images_count") < 24
