"""Fitting stage 2: what it is told by stage 1, where it looks, and what is chosen afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import torch
from torch import Tensor

from foveate.runtime.spec import CascadeSpec
from foveate.train.calibration.boxes import MARGINS, Candidate, choose_box, measure_boxes
from foveate.train.calibration.choosing import Choosing, Chosen
from foveate.train.calibration.decision import choose_decision
from foveate.train.calibration.tile_choice import choose_tiling
from foveate.train.data.augment import augmentation
from foveate.train.data.dataset import split_folds
from foveate.train.data.full_images import FullImages
from foveate.train.data.tile_views import TileCrops
from foveate.train.data.views import RegionCrops, ViewSource, WholeImages, WholeView, whole_item
from foveate.train.fitting.hints import Answers, answers, evenly, regions, sample
from foveate.train.fitting.losses import mean_dice, view_dice
from foveate.train.fitting.schedule import FOLD_SHARE
from foveate.train.fitting.steps import Task
from foveate.train.fitting.trainer import Trainer
from foveate.train.networks.base import Network
from foveate.train.networks.build import networks
from foveate.train.reference.cascade import TorchCascade
from foveate.train.runs.initial import Initial
from foveate.train.runs.run import load_stage

WIDE_BOX = 0.8
"""A box of more than this share of the image saves nothing; the log says so."""
LEARNED = 0.3
"""Below this validation Dice of stage 1 a wide box says nothing about the data."""


class Stage2:
    """Fits stage 2 of a run whose stage 1 is done."""

    def __init__(
        self,
        trainer: Trainer,
        views: dict[str, WholeView],
        full: FullImages,
        initial: Initial,
    ) -> None:
        self.trainer, self.views, self.full, self.initial = trainer, views, full, initial
        self.job, self.record = trainer.job, trainer.record
        self.settings = trainer.job.settings
        self.training = self.record["data"]["training"]
        self.validation = self.record["data"]["validation"]
        self.augment = augmentation(self.settings)

    @property
    def spec(self) -> CascadeSpec:
        return CascadeSpec.from_dict(self.record["spec"])

    def fit(self, stage1: Network, stage2: Network) -> None:
        """Fit stage 2, which begins with stage 1's weights: in its box, or in tiles."""
        stage = self.record["stages"].setdefault("stage2", {"curve": [], "done": False})
        tiles = self.spec.region.mode == "tiles"
        if stage["done"]:
            load_stage(self.job.folder, self.record, "stage2", stage2)
        else:
            found = self._answers(stage1)
            self.trainer.fit(self._in_tiles(found) if tiles else self._in_box(found), stage2)
        key = "tiles" if tiles else "decisions"
        if key not in stage:
            cascade = TorchCascade(self.spec, stage1.cpu(), stage2.cpu()).eval()
            choose = self._tiles if tiles else self._decision
            self.trainer.choose(stage, key, partial(choose, cascade))

    def _decision(self, cascade: TorchCascade, choosing: Choosing) -> Chosen:
        with torch.inference_mode():
            found = answers(cascade.stage1, self._item, self.validation, mirrored=False)
        boxes = [Candidate(**row) for row in self.record["stages"]["stage1"]["boxes"]]
        return choose_decision(cascade, self._crops(found), self.validation, boxes, choosing)

    def _tiles(self, cascade: TorchCascade, choosing: Choosing) -> Chosen:
        return choose_tiling(cascade, self.full, self.training, self.validation, choosing)

    def _answers(self, stage1: Network) -> Answers:
        """Return stage 1's answers: on validation images its own, on others those of the folds."""
        mirrored = self.settings.horizontal_flip > 0 and self.trainer.left() > 0
        found = self._ask(stage1, self.validation)
        if not self.settings.hint_folds:
            return found | self._ask(stage1, self.training, mirrored)
        data = replace(self.job.dataset, stems=tuple(self.training))
        folds = split_folds(data, self.settings.hint_folds, self.settings.seed)
        self.job.log(
            f"Training {len(folds)} hint networks, each without a part of the training images: "
            "their predictions on those are the hints of stage 2."
        )
        for number, stems in enumerate(folds, 1):
            network = self._fold(number, len(folds), stems)
            found |= self._ask(network, stems, mirrored)
        some = evenly(self.training)
        hints = {
            "dice": self._mean_dice(found, some),
            "training_dice": self._mean_dice(self._ask(stage1, some), some),
            "validation": self._mean_dice(found, self.validation),
        }
        self.record["stages"]["stage2"]["hints"] = hints
        self.job.log(
            f"Hints of stage 2: Dice {hints['dice']:.3f} on training images. Stage 1 itself has "
            f"{hints['training_dice']:.3f} on them and {hints['validation']:.3f} on validation "
            "images."
        )
        return found

    def _ask(self, network: Network, stems: Sequence[str], mirrored: bool = False) -> Answers:
        forward = partial(self.trainer.answer, network)
        progress = partial(self.job.progress, "hints of stage 2")
        return answers(forward, self._item, stems, mirrored, progress)

    def _fold(self, number: int, count: int, held_out: Sequence[str]) -> Network:
        """Return a stage 1 that was trained on the training images that are not held out."""
        settings, name = self.settings, f"fold{number}"
        torch.manual_seed(settings.seed + number)
        network, _ = networks(self.spec, settings.networks)
        self.initial.into(network, "stage1", name)
        others = [stem for stem in self.training if stem not in held_out]
        views = WholeImages(self._source(others, settings.seed + number))
        items = [self._item(stem) for stem in self.validation]
        label = f"Hint network {number} of {count}"
        task = Task(name, label, views, items, len(self.training), FOLD_SHARE)
        self.trainer.fit(task, network)
        self.record["stages"][name]["held_out"] = list(held_out)
        return network

    def _item(self, stem: str) -> tuple[Tensor, Tensor]:
        return whole_item(self.views[stem], self.spec)

    def _mean_dice(self, found: Answers, stems: Sequence[str]) -> float:
        """Return the mean Dice of any foreground at stage 1's resolution."""
        scores = []
        for stem in stems:
            view, logits = self.views[stem], found[stem][0].logit(eps=1e-6)
            truth = torch.from_numpy(view.with_ignored(view.target().sum(axis=0, keepdims=True)))
            scores.append(view_dice(logits[None, None], truth[None]))
        return round(mean_dice(scores), 5)

    def _in_tiles(self, found: Answers) -> Task:
        data = TileCrops(self._source(self.training, self.settings.seed), found)
        items = data.validation(self.validation)
        return Task("stage2", "Stage 2", data, items, len(self.training))

    def _in_box(self, found: Answers) -> Task:
        """Return the training of stage 2 in its box; how the box is drawn is chosen first."""
        if "boxes" not in self.record["stages"]["stage1"]:
            self._choose_box(found)
        data = self._crops(found)
        items = []
        for stem in self.validation:
            image, hint, target = data.region(stem, data.regions.predicted[stem][0])
            items.append(data.tensors(stem, image, hint, target))
        return Task("stage2", "Stage 2", data, items, len(self.training))

    def _crops(self, found: Answers) -> RegionCrops:
        assert self.spec.stage2 is not None
        boxes = regions(found, self.views, self.spec.region, self.spec.stage2)
        return RegionCrops(self._source(self.training, self.settings.seed), boxes)

    def _source(self, stems: Sequence[str], seed: int) -> ViewSource:
        return ViewSource(self.full, self.views, stems, self.spec, self.augment, seed)

    def _choose_box(self, found: Answers) -> None:
        """Choose threshold, margin and opening by what is missed; write the record."""
        size, margin = self.spec.stage2, self.settings.margin
        assert size is not None
        coarse = sample(found, self.training, self.validation)
        margins = (margin,) if margin else MARGINS
        progress = partial(self.job.progress, "choosing the box")
        table = measure_boxes(coarse, self.views, self.spec.region, size, margins, progress)
        best = choose_box(table)
        self.job.log(
            f"Box of stage 2: {best.area:.0%} of the image on average, {best.missed:.1%} of the "
            f"truth outside (coarse probability over {best.threshold} in patches of "
            f"{best.opening} cells, margin {best.margin})."
        )
        curve = self.record["stages"]["stage1"]["curve"]
        learned = max((row["dice"] for row in curve), default=1.0)
        if best.area > WIDE_BOX and learned < LEARNED:
            self.job.log(
                f"Stage 1 has learned too little to find a box (Dice {learned:.2f}): train longer."
            )
        elif best.area > WIDE_BOX:
            self.job.log(
                "A box this wide saves nothing: --stages single trains one network, and --set "
                "region_mode=tiles lets stage 2 see the best tiles."
            )
        region = replace(
            self.spec.region, threshold=best.threshold, margin=best.margin, opening=best.opening
        )
        self.record["spec"] = replace(self.spec, region=region).as_dict()
        self.record["stages"]["stage1"]["boxes"] = [asdict(row) for row in table]
        self.trainer.write()
