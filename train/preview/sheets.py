"""``foveate train --preview``: sheets of what the networks will see, before they are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from foveate.runtime.errors import OutputError
from foveate.runtime.geometry import crop
from foveate.runtime.spec import RGB, CascadeSpec, Normalisation, Region, Size
from foveate.train.calibration.boxes import box_of
from foveate.train.data.augment import augmentation
from foveate.train.data.dataset import DataSet
from foveate.train.data.full_images import FullImages, plan_cache
from foveate.train.data.full_views import FullCrops
from foveate.train.data.summary import percent
from foveate.train.data.tile_views import TileCrops
from foveate.train.data.views import (
    Box,
    FloatArray,
    RegionCrops,
    Regions,
    ViewSource,
    WholeImages,
    area_shares,
    full_scale,
    planes,
    whole_views,
)
from foveate.train.fitting.checks import known_before
from foveate.train.preview.sheet import SIDE, Row, Sheet, Tile, framed, outlined, write_sheet
from foveate.train.reference.tiles import tile_boxes
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.record import new_record
from foveate.train.settings.settings import OF_PRESETS

SHOWN = 8
VARIANTS = 4
LOW, HIGH = 0.5, 99.5
"""Percentiles that an image is stretched between, to be looked at."""
DOUBT = 1e-3
"""No answer of stage 1 is sure of nothing everywhere, so the truth that stands in is not either."""


def choose(dataset: DataSet, training: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return at most SHOWN training images, each with the reason that it is shown.

    Rare classes come first, then empty images, the largest and the smallest, then any others.
    """
    contents = dataset.contents
    labels = range(1, len(names) + 1)
    area = {label: sum(contents[stem].areas.get(label, 0) for stem in training) for label in labels}
    found: dict[str, str] = {}

    def add(why: str, key: Callable[[str], float], stems: Sequence[str]) -> None:
        """Take the image with the greatest key of those not taken yet."""
        left = [stem for stem in stems if stem not in found]
        if left and len(found) < SHOWN:
            found[max(left, key=key)] = why

    by_area = sorted(labels, key=lambda label: area[label])
    for place, label in enumerate(by_area[: SHOWN - 4]):
        rarest = ", the rarest class" if place == 0 and len(names) > 1 else ""
        most = {s: contents[s].share(label) for s in training if label in contents[s].areas}
        least = {stem: -share for stem, share in most.items()}
        add(f'the most of "{names[label - 1]}"{rarest}', most.__getitem__, list(most))
        add(f'the least of "{names[label - 1]}"', least.__getitem__, list(least))
    add("nothing to find", lambda stem: 0, [stem for stem in training if contents[stem].empty])
    size = {stem: contents[stem].height * contents[stem].width for stem in training}
    if len(set(size.values())) > 1:
        add("the largest image", size.__getitem__, training)
        add("the smallest image", lambda stem: -size[stem], training)
    step = max(1, len(training) // SHOWN)
    for stem in [*training[::step], *training]:
        add("one of the others", lambda stem: 0, [stem])
    return found


STRETCHED = (
    f"Every image is shown stretched from its {LOW}th to its {HIGH}th percentile; training sees "
    "its values as they are."
)


def write_preview(job: TrainingJob) -> list[Path]:
    """Say what the data is, write sheets of it to the job's folder and return their paths."""
    for line in known_before(job, plan_cache(job.dataset.contents, job.settings.cache_gb)):
        job.log(line)
    record = new_record(job)
    spec = CascadeSpec.from_dict(record["spec"])
    picks = choose(job.dataset, record["data"]["training"], spec.classes[1:])
    sheets = _Sheets(job, spec, picks)
    found = {"1-data.png": sheets.data(), "2-stage1.png": sheets.stage1()}
    if spec.stage2 is not None and job.stages != "1":
        found["3-stage2.png"] = sheets.stage2()
    paths = []
    for name, sheet in found.items():
        paths.append(job.folder / name)
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            write_sheet(paths[-1], sheet)
        except OSError as error:
            raise OutputError(f"{error.filename or job.folder}: {error.strerror}") from error
    return paths


class _Sheets:
    """The sheets of some images; views are drawn by the code that training draws them by."""

    def __init__(self, job: TrainingJob, spec: CascadeSpec, picks: dict[str, str]) -> None:
        self.job, self.picks = job, picks
        self.spec = replace(spec, normalisation=Normalisation("constants", 0.0, 1.0))
        stems = list(picks)
        contents = {stem: job.dataset.contents[stem] for stem in stems}
        self.dataset = replace(job.dataset, stems=tuple(stems), contents=contents)
        self.full = FullImages(self.dataset, job.settings.cache_gb)
        progress = partial(job.progress, "preparing views")
        self.views = whole_views(self.full, stems, spec.stage1, progress)
        self.augment = augmentation(job.settings)

    def data(self) -> Sheet:
        tiles = [self._image(stem) for stem in self.picks]
        rows = [Row(tiles[start : start + 4]) for start in range(0, len(tiles), 4)]
        note = "Some of the training images with their masks outlined."
        return self._sheet(f"The data: {self.dataset.root.resolve().name}", [note], rows)

    def stage1(self) -> Sheet:
        size = self.spec.stage1
        what = f"the whole image at {size.width} x {size.height}"
        if self.spec.pad_multiple:
            what = f"crops of {size.width} x {size.height} of images at their own size"
        who = "the network" if self.spec.stage2 is None else "stage 1"
        rows = []
        for row, (stem, why) in enumerate(self.picks.items()):
            items: FullCrops | WholeImages = WholeImages(self._source(stem))
            view, tiles = self.views[stem], []
            if self.spec.pad_multiple:
                items = FullCrops(self._source(stem))
            else:
                pixels = view.image.astype(np.float32)
                tiles.append(self._tile(stem, pixels, view.target(), "as it is"))
            for number in range(VARIANTS):
                index = row * VARIANTS + number  # other changes in every row
                pixels, target = (tensor.numpy() for tensor in items[index])
                tiles.append(self._tile(stem, pixels, target, f"variant {number + 1}"))
            rows.append(Row(tiles, f"{stem}: {why}"))
        return self._sheet(f"What {who} sees: {what}", self._changes(), rows)

    def stage2(self) -> Sheet:
        size = self.spec.stage2
        assert size is not None
        tiles = self.spec.region.mode == "tiles"
        what = "tiles of the image" if tiles else "a box around the target"
        notes = [
            "White: what the variants show. Stage 1 is not trained yet, so the truth stands in "
            "for its answer, which stage 2 gets as a second channel.",
            *self._changes(),
        ]
        rows = [
            Row(list(self._row(stem, row * VARIANTS)), f"{stem}: {why}")
            for row, (stem, why) in enumerate(self.picks.items())
        ]
        title = f"What stage 2 sees: {what}, at {size.width} x {size.height}"
        return self._sheet(title, notes, rows)

    def _row(self, stem: str, first: int) -> Iterator[Tile]:
        """Yield where the variants of stage 2 lie, and the variants, from number ``first`` on."""
        views, boxes = self._regions(stem, range(first, first + VARIANTS))
        picture = self._image(stem).picture
        content = self.dataset.contents[stem]
        scale = picture.shape[1] / content.width, picture.shape[0] / content.height
        yield Tile(framed(picture, boxes, scale), ("where the variants are",))
        for number, (x0, y0, x1, y1) in enumerate(boxes):
            pixels, target = (tensor.numpy() for tensor in views[first + number])
            words = f"variant {number + 1}: {x1 - x0:.0f} x {y1 - y0:.0f} pixels"
            yield self._tile(stem, pixels[:-1], target, words)

    def _regions(self, stem: str, numbers: range) -> tuple[RegionCrops | TileCrops, list[Box]]:
        """Return stage 2's training views of one image, and the boxes of some of them."""
        if self.spec.region.mode == "tiles":
            tiles = self._tile_crops(stem)
            found = [tile_boxes(tiles.place(number)[2])[0, 0].tolist() for number in numbers]
            return tiles, [(x0, y0, x1, y1) for x0, y0, x1, y1 in found]
        crops = self._box_crops(stem)
        return crops, [crops.place(number)[2] for number in numbers]

    def _box_crops(self, stem: str) -> RegionCrops:
        view, size = self.views[stem], self.spec.stage2
        assert size is not None
        region = self.spec.region
        if not region.margin:  # chosen with the box, later
            region = replace(region, margin=Region.margin)
        truth = view.target().sum(axis=0)
        box = box_of(torch.from_numpy(truth), view, region, size)
        hints = {stem: [truth.astype(np.float16)]}
        return RegionCrops(self._source(stem), Regions(hints, {stem: [box]}, {stem: box}))

    def _tile_crops(self, stem: str) -> TileCrops:
        truth = torch.from_numpy(self.views[stem].target().sum(axis=0)) + DOUBT
        return TileCrops(self._source(stem), {stem: [truth]})

    def _source(self, stem: str) -> ViewSource:
        seed = self.job.settings.seed
        return ViewSource(self.full, self.views, [stem], self.spec, self.augment, seed)

    def _image(self, stem: str) -> Tile:
        """Return an image made small, its mask outlined, with words on it."""
        image, mask = self.full.get(stem)
        fit = SIDE / max(image.shape[:2])
        size = Size(*(max(1, round(side * fit)) for side in image.shape[:2]))
        box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
        small = crop(planes(image), box, size.height, size.width) / full_scale(image)
        content = self.dataset.contents[stem]
        found = [
            f"{name} {percent(content.share(label))}"
            for label, name in enumerate(self.spec.classes[1:], 1)
            if label in content.areas
        ]
        words = f"{content.width} x {content.height}, {content.bits} bit"
        tile = self._tile(stem, small, area_shares(mask, self.dataset.layers, box, size))
        return Tile(tile.picture, (stem, words, ", ".join(found) or "empty", self.picks[stem]))

    def _tile(self, stem: str, pixels: FloatArray, shares: FloatArray, *words: str) -> Tile:
        """Return (C, h, w) pixels in [0, 1] and area shares as a tile, in colour where it is RGB.

        All tiles of an image have one brightness.
        """
        low, high = np.percentile(self.views[stem].image.astype(np.float32), (LOW, HIGH))
        shown = pixels.transpose(1, 2, 0) if self.spec.channels == RGB else pixels.mean(axis=0)
        shown = np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * 255
        classes = shares[: self.dataset.classes]
        return Tile(outlined(np.rint(shown).astype(np.uint8), classes), words)

    def _changes(self) -> list[str]:
        settings = self.job.settings
        values = ", ".join(f"{name} {getattr(settings, name):g}" for name in OF_PRESETS)
        return [
            "In training every view is drawn anew, as these variants are. If some could never be "
            "images of yours, choose another preset:",
            "--set augmentation=none, light, standard, medical or industrial, or single values, "
            "such as --set vertical_flip=0.",
            f"Here: augmentation {settings.augmentation}, {values}.",
        ]

    def _sheet(self, title: str, notes: list[str], rows: list[Row]) -> Sheet:
        return Sheet(title, [*notes, STRETCHED], self.spec.classes[1:], rows)
