"""Full images: kept, mapped and plain ones are the same, and memory and disk are respected."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from foveate.runtime import geometry
from foveate.runtime.errors import DataError
from foveate.runtime.geometry import crop
from foveate.runtime.spec import Size
from foveate.train.data.augment import augmentation
from foveate.train.data.dataset import DataSet, load_dataset
from foveate.train.data.full_images import FullImages, available_bytes, cgroup_folders, plan_cache
from foveate.train.data.full_views import FullCrops
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.data.views import RegionCrops, Regions, ViewSource, whole_views
from foveate.train.settings.settings import Settings
from tests.drawing import small_spec
from tests.train.data.test_full_views import SPEC as FULL_SPEC

SOME_GB = 0.0002
"""Room for three of the twelve images."""


def views(dataset: DataSet, cache_gb: float) -> list[np.ndarray]:
    """Return training views of both stages and of the network at full size."""
    full = FullImages(dataset, cache_gb)
    small = whole_views(full, dataset.stems, Size(48, 64), lambda done, total: None)
    answers = {stem: [view.target()[0].astype(np.float16)] for stem, view in small.items()}
    boxes = {stem: [(3.0, 5.0, 130.0, 90.0)] for stem in dataset.stems}
    source = ViewSource(
        full, small, dataset.stems, small_spec("uint16"), augmentation(Settings()), 0
    )
    crops = RegionCrops(source, Regions(answers, boxes, {}))
    whole = FullCrops(replace(source, spec=FULL_SPEC))
    items = [item for index in range(6) for item in (*crops[index], *whole[index])]
    return [item.numpy() for item in items]


def test_views_do_not_depend_on_where_the_images_are_kept(data: Path) -> None:
    dataset = load_dataset(data)
    assert len(plan_cache(dataset.contents, 1).kept) == 12
    some = plan_cache(dataset.contents, SOME_GB)
    assert 0 < len(some.kept) < 12 and some.kept_bytes <= SOME_GB * 1e9 < some.total_bytes
    expected = views(dataset, 1)
    for cache_gb in (SOME_GB, 1e-9):
        found = views(dataset, cache_gb)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_processes_of_a_machine_share_its_memory(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = load_dataset(data).contents
    alone = plan_cache(contents, SOME_GB).kept_bytes
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert plan_cache(contents, SOME_GB).kept_bytes < alone
    assert plan_cache(contents, SOME_GB * 2).kept_bytes == alone


def test_a_file_is_decoded_once_and_workers_read_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    list(write_phantoms(tmp_path, PhantomSettings(3, 128, bits=16)))
    dataset = load_dataset(tmp_path)
    full = FullImages(dataset, 1e-9)
    expected = {stem: full.get(stem) for stem in dataset.stems}
    shutil.rmtree(tmp_path / "images")
    assert list((tmp_path / "cache" / "training").iterdir()) == []  # the file has no name
    for stem in dataset.stems:
        image, mask = full.get(stem)
        np.testing.assert_array_equal(image, expected[stem][0])
        np.testing.assert_array_equal(mask, expected[stem][1])
        assert image.dtype == np.uint16 and not image.flags.owndata
    sums = [int(item) for item in DataLoader(Sums(full), batch_size=None, num_workers=2)]
    assert sums == [int(image.sum()) for image, _ in expected.values()]


class Sums(Dataset[int]):
    """The sum of every image."""

    def __init__(self, full: FullImages) -> None:
        self.full = full

    def __len__(self) -> int:
        return len(self.full.dataset.stems)

    def __getitem__(self, index: int) -> int:
        return int(self.full.get(self.full.dataset.stems[index])[0].sum())


def test_a_full_disk_is_named_before_anything_is_decoded(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1, 1, 1 << 20))
    dataset = load_dataset(data)
    with pytest.raises(DataError, match=r"do not fit in memory .*FOVEATE_CACHE=FOLDER"):
        FullImages(dataset, 1e-9)
    assert FullImages(dataset, 1).plan.words.startswith("Full images: all 12 are kept in memory")


def test_limits_of_containers_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2, one group in another; version 1 beside it has no limit."""
    from foveate.train.data import full_images as memory

    (tmp_path / "membership").write_text("4:memory:/job\n1:cpu:/job\n0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.max").write_text("3000000\n")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        (folder / "memory.current").write_text("2500000\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 200000\n")
    folders = cgroup_folders(tmp_path, tmp_path / "membership")
    assert folders[:2] == [tmp_path / "memory" / "job", tmp_path / "memory"]
    assert folders[2:] == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "MEMBERSHIP", tmp_path / "membership")
    assert available_bytes() == 700_000


def test_a_large_box_is_resampled_alike_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (700, 900)).astype(np.uint16)
    boxes = [(0.0, 0.0, 900.0, 700.0), (13.0, 7.0, 611.0, 699.0), (5.0, 5.0, 45.0, 25.0)]
    for box in boxes:
        for label in (None, 7):
            pixels = image if label is None else (image % 9).astype(np.uint8)
            dense = crop(pixels, box, 48, 40, label)
            with monkeypatch.context() as patch:
                patch.setattr(geometry, "DENSE_PIXELS", 100)
                bands = crop(pixels, box, 48, 40, label)
            np.testing.assert_allclose(bands, dense, rtol=2e-6, atol=1e-6)
            if label:
                np.testing.assert_array_equal(dense, crop(pixels == label, box, 48, 40))


def test_the_owner_is_the_process_that_fills(data: Path) -> None:
    """What a worker decodes by itself it does not add: the others would not know where it lies."""
    dataset = load_dataset(data)
    full = FullImages(dataset, 1e-9)
    full._owner = os.getpid() + 1
    full.get(dataset.stems[0])
    assert full._file is not None and f"{dataset.stems[0]}/mask" not in full._file
