"""Fitting: both stages, or the one-stage network they are compared with, into a run folder."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from foveate.runtime.bundle import file_sha256
from foveate.runtime.errors import FoveateError, SettingsError
from foveate.runtime.spec import CascadeSpec, Normalisation
from foveate.train.augment import augmentation
from foveate.train.boxes import MARGINS, choose_box, measure_boxes
from foveate.train.cascade import TorchCascade
from foveate.train.class_weights import stage_loss
from foveate.train.full_views import FullCrops, WholeAtOwnSize
from foveate.train.hints import Asked, answers, measure_strengths, regions, sample
from foveate.train.losses import Loss, mean_dice, view_dice
from foveate.train.network import Network
from foveate.train.networks import load_encoder, networks
from foveate.train.record import Job, start_record
from foveate.train.run import (
    load_stage,
    load_state,
    save_state,
    save_tensors,
    write_run,
)
from foveate.train.schedule import Clock, rate_factor
from foveate.train.tile_choice import ceiling, choose_count, judged, measure_tiles
from foveate.train.tile_views import TileCrops
from foveate.train.views import (
    FullImages,
    RegionCrops,
    StemSampler,
    WholeImages,
    WholeView,
    whole_views,
)

Items = Sequence[tuple[Tensor, Tensor]] | WholeAtOwnSize
WIDE_BOX = 0.8
"""A box of more than this share of the image saves nothing; the log says so."""
EPOCH_BATCHES = 32
"""An epoch is every training image once, but never fewer batches than this."""


def fit(job: Job) -> dict[str, Any]:
    """Train what ``job.stages`` names (both, 1, 2 or single) and return the run's record."""
    torch.manual_seed(job.settings.seed)
    record = start_record(job)
    training, validation = record["data"]["training"], record["data"]["validation"]
    spec = CascadeSpec.from_dict(record["spec"])
    stage1_size = spec.stage1
    full = FullImages(job.dataset)
    views = whole_views(
        full,
        [*training, *validation],
        stage1_size,
        lambda done, total: job.progress("preparing views", done, total),
    )
    if spec.normalisation.mode == "constants":
        spec = replace(spec, normalisation=_constants([views[stem] for stem in training]))
        record["spec"] = spec.as_dict()
    fitter = _Fitter(job, record, views, full)
    stage1, stage2 = networks(spec, job.settings.network_choice)
    if job.settings.encoder_weights and not record["stages"]:
        load_encoder(stage1, job.settings.network_choice, Path(job.settings.encoder_weights))
    if job.stages == "2" and not record["stages"].get("stage1", {}).get("done"):
        raise FoveateError(f"stage 1 of {job.folder} is not done; train it with --stages 1 first")
    fitter.stage1(stage1)
    if stage2 is not None and job.stages != "1":
        fitter.stage2(stage1, stage2)
    (job.folder / "last.safetensors").unlink(missing_ok=True)
    return record


def _constants(views: Sequence[WholeView]) -> Normalisation:
    """Return mean and deviation over the training images, in units of the full scale."""
    pixels = np.stack(
        [[view.image.mean(dtype=np.float64), view.image.astype(float).var()] for view in views]
    )
    mean = float(pixels[:, 0].mean())
    variance = float((pixels[:, 1] + (pixels[:, 0] - mean) ** 2).mean())
    return Normalisation("constants", mean, max(math.sqrt(variance), 1e-4))


class _Fitter:
    """Fits one network after the other and keeps ``run.json`` true after every epoch."""

    def __init__(
        self, job: Job, record: dict[str, Any], views: dict[str, WholeView], full: FullImages
    ) -> None:
        self.job, self.record, self.views, self.full = job, record, views, full
        self.settings = job.settings
        self.device = _device(job.settings.device)
        self.training = record["data"]["training"]
        self.validation = record["data"]["validation"]
        self.sampler = StemSampler(job.dataset, self.training)
        self.augment = augmentation(job.settings)
        single_network = job.stages in ("1", "2", "single")
        self.seconds = job.settings.max_minutes * 60 / (1 if single_network else 2)

    @property
    def spec(self) -> CascadeSpec:
        return CascadeSpec.from_dict(self.record["spec"])

    def stage1(self, network: Network) -> None:
        """Fit stage 1 (or single)."""
        if self.spec.pad_multiple:
            self._single_at_own_size(network)
            return
        data = WholeImages(self.views, self.sampler, self.spec, self.augment, self.settings.seed)
        validation = [self._whole_item(stem) for stem in self.validation]
        self._fit("stage1", network, data, validation)

    def _single_at_own_size(self, network: Network) -> None:
        data = FullCrops(self.full, self.sampler, self.spec, self.augment, self.settings.seed)
        validation = WholeAtOwnSize(self.full, self.validation, self.spec)
        self._fit("stage1", network, data, validation)

    def stage2(self, stage1: Network, network: Network) -> None:
        """Fit stage 2, beginning with stage 1's weights: in its box, or in tiles."""
        asked = self._asked(stage1)
        if self.spec.region.mode == "tiles":
            self._stage2_in_tiles(asked, stage1, network)
        else:
            self._stage2_in_box(asked, stage1, network)

    def _stage2_in_tiles(self, asked: Asked, stage1: Network, network: Network) -> None:
        """Fit stage 2 on tiles, then choose how many of them it looks at and how they overlap."""
        network.start_from(stage1)
        data = TileCrops(
            self.full,
            self.views,
            answers(asked, self.training, self.validation),
            self.sampler,
            self.spec,
            self.augment,
            self.settings.seed,
        )
        self._fit("stage2", network, data, data.validation(self.validation))
        if "tiles" not in self.record["stages"]["stage2"]:
            self._choose_tiles(TorchCascade(self.spec, stage1.cpu(), network.cpu()).eval())

    def _choose_tiles(self, cascade: TorchCascade) -> None:
        """Choose number and overlap of the tiles by the Dice they give; write the record."""
        self.job.log("Choosing the tiles of stage 2.")
        stems = judged(self.training, self.validation)
        table = measure_tiles(cascade, self.full, stems)
        best, all_tiles = choose_count(table), ceiling(table)
        self.job.log(
            f"Tiles of stage 2: the best {best.tiles or 'of all'} with an overlap of "
            f"{best.overlap:.0%}, Dice {best.dice:.4f} by {best.run:.1f} tiles an image "
            f"in the mean, on {len(stems)} validation and training images. All tiles: "
            f"{all_tiles.dice:.4f} by {all_tiles.run:.1f}, overlap {all_tiles.overlap:.0%}."
        )
        region = replace(self.spec.region, tiles=best.tiles, overlap=best.overlap)
        self.record["spec"] = replace(self.spec, region=region).as_dict()
        self.record["stages"]["stage2"]["tiles"] = [row.as_dict() for row in table]
        write_run(self.job.folder, self.record)

    def _stage2_in_box(self, asked: Asked, stage1: Network, network: Network) -> None:
        """Choose how the box is drawn, then fit stage 2 in it."""
        size = self.spec.stage2
        assert size is not None
        if "boxes" not in self.record["stages"]["stage1"]:
            self._choose_box(asked)
        network.start_from(stage1)
        data = RegionCrops(
            self.full,
            self.views,
            regions(asked, self.training, self.validation, self.spec.region, size),
            self.sampler,
            self.spec,
            self.augment,
            self.settings.seed,
        )
        validation = []
        for stem in self.validation:
            image, hint, target = data.region(stem, data.regions.predicted[stem][0])
            validation.append(data.tensors(stem, image, hint, target))
        self._fit("stage2", network, data, validation)

    def _whole_item(self, stem: str) -> tuple[Tensor, Tensor]:
        plain = WholeImages(
            {stem: self.views[stem]},
            StemSampler(self.job.dataset, [stem]),
            self.spec,
            lambda image, layers, seed: (image, layers),
            0,
        )
        return plain[0]

    def _asked(self, stage1: Network) -> Asked:
        """Return stage 1 to be asked for hints; how much to disturb it goes into the record."""
        self.job.log("Asking stage 1 about every training image, for the hints of stage 2.")
        validation = [self._whole_item(stem) for stem in self.validation]
        wanted = self._validate(stage1, validation)
        forward = partial(self._answer, stage1)
        trials = measure_strengths(
            forward, self._whole_item, self.training, wanted, self.settings.seed
        )
        strength = trials[-1].strength
        found = f"Hints of stage 2: stage 1 has Dice {trials[0].dice:.3f} on training images"
        if strength:
            self.job.log(
                f"{found}, {wanted:.3f} on validation images. Disturbed with strength {strength}, "
                f"its training views give {trials[-1].dice:.3f}, and those answers are the hints."
            )
        else:
            self.job.log(f"{found}, no better than {wanted:.3f} on validation images: as they are.")
        stage = self.record["stages"].setdefault("stage2", {"curve": [], "done": False})
        stage["hints"] = {"wanted": wanted, "trials": [trial.as_dict() for trial in trials]}
        return Asked(forward, self._whole_item, self.views, strength, self.settings.seed)

    def _choose_box(self, asked: Asked) -> None:
        """Choose threshold, margin and opening by what is missed; write the record."""
        size, margin = self.spec.stage2, self.settings.margin
        assert size is not None
        self.job.log("Choosing the box of stage 2.")
        coarse = sample(asked, self.training, self.validation)
        margins = (margin,) if margin else MARGINS
        table = measure_boxes(coarse, self.views, self.spec.region, size, margins)
        best = choose_box(table)
        self.job.log(
            f"Box of stage 2: {best.area:.0%} of the image in the mean, {best.missed:.1%} of the "
            f"truth outside (coarse probability over {best.threshold} in patches of "
            f"{best.opening} cells, margin {best.margin})."
        )
        if best.area > WIDE_BOX:
            self.job.log(
                "So wide a box saves nothing: expect little more than --stages single gives."
            )
        region = replace(
            self.spec.region, threshold=best.threshold, margin=best.margin, opening=best.opening
        )
        self.record["spec"] = replace(self.spec, region=region).as_dict()
        self.record["stages"]["stage1"]["boxes"] = [row.as_dict() for row in table]
        write_run(self.job.folder, self.record)

    def _fit(
        self,
        name: str,
        network: Network,
        data: Dataset[tuple[Tensor, Tensor]],
        validation: Items,
    ) -> None:
        """Train one network; its best weights by validation Dice end in ``name.safetensors``."""
        started = time.monotonic()
        stage = self.record["stages"].setdefault(name, {"curve": [], "done": False})
        best_path = self.job.folder / f"{name}.safetensors"
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if stage["done"]:
            load_stage(self.job.folder, self.record, name, network)
            return
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )  # fmt: skip
        if stage["curve"]:
            load_state(self.job.folder / "last.safetensors", network, optimizer)
            started -= stage["curve"][-1]["seconds"]
        clock = Clock(started, self.seconds, self.settings.num_epochs, self._batches())
        label = {"stage1": "Stage 1", "stage2": "Stage 2"}[name]
        batches = self._stream(data, len(stage["curve"]))
        loss_of = stage_loss(self.settings, self.spec.classes, data)
        for epoch in range(
            len(stage["curve"]), self.settings.num_epochs if not self.seconds else 10**6
        ):
            if clock.progress(epoch, 0) >= 1:
                break
            loss = self._epoch(label, network, optimizer, batches, epoch, clock, loss_of)
            dice = self._validate(network, validation)
            best = max((row["dice"] for row in stage["curve"]), default=-1.0)
            stage["curve"].append(
                {"epoch": epoch + 1, "loss": round(loss, 5), "dice": round(dice, 5),
                 "rate": optimizer.param_groups[0]["lr"],
                 "seconds": round(time.monotonic() - started, 1)}
            )  # fmt: skip
            improved = dice > best
            if improved:
                save_tensors(best_path, network.state_dict())
                stage["sha256"] = file_sha256(best_path)
            save_state(self.job.folder / "last.safetensors", network, optimizer)
            write_run(self.job.folder, self.record)
            total = clock.epochs(epoch + 1)
            self.job.log(
                f"{label} Epoch [{epoch + 1}/{total}], Loss: {loss:.4f}, Dice: {dice:.4f}, "
                f"ETA {clock.eta(epoch + 1):.1f} min" + (" Best model saved." if improved else "")
            )
            self.job.watch(name, stage["curve"][-1])
        stage["done"] = True
        write_run(self.job.folder, self.record)
        load_stage(self.job.folder, self.record, name, network)

    def _stream(
        self, data: Dataset[tuple[Tensor, Tensor]], epochs: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an endless stream of batches that begins where ``epochs`` epochs ended."""
        first = epochs * self._batches() * self.settings.batch_size
        return iter(
            DataLoader(
                data,
                batch_size=self.settings.batch_size,
                sampler=range(first, sys.maxsize),
                num_workers=self.settings.num_workers,
                worker_init_fn=_one_thread,
            )
        )

    def _batches(self) -> int:
        return max(EPOCH_BATCHES, math.ceil(len(self.training) / self.settings.batch_size))

    def _epoch(
        self,
        label: str,
        network: Network,
        optimizer: torch.optim.Optimizer,
        stream: Iterator[tuple[Tensor, Tensor]],
        epoch: int,
        clock: Clock,
        loss_of: Loss,
    ) -> float:
        """Return the mean loss of one epoch of steps; it ends early when the time is up."""
        network.train()
        batches = self._batches()
        total = 0.0
        step = 0
        for step, (inputs, target) in enumerate(itertools.islice(stream, batches), 1):
            rate = self.settings.learning_rate * rate_factor(clock.progress(epoch, step - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            inputs = inputs.to(self.device).contiguous(memory_format=torch.channels_last)
            with _autocast(self.device):
                logits = network(inputs)
            loss = loss_of(logits.float(), target.to(self.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            total += float(loss.detach())
            if not math.isfinite(total):
                raise FoveateError(
                    f"the loss of {label.lower()} is no longer a number (epoch {epoch + 1}, step "
                    f"{step}); lower learning_rate, now {self.settings.learning_rate}"
                )
            self.job.progress(f"{label} epoch {epoch + 1}", step, batches)
            if clock.progress(epoch, step) >= 1:
                break
        return total / max(step, 1)

    def _validate(self, network: Network, items: Items) -> float:
        """Return the mean Dice over images and classes that have any truth or prediction."""
        scores = []
        for index in range(len(items)):
            inputs, target = items[index]
            scores.append(view_dice(self._answer(network, inputs[None]), target[None]))
        return mean_dice(scores)

    def _answer(self, network: Network, inputs: Tensor) -> Tensor:
        """Return a network's logits, float32 on the CPU, as it gives them when trained."""
        network.eval()
        with torch.inference_mode(), _autocast(self.device):
            logits: Tensor = network(inputs.to(self.device)).float().cpu()
        return logits


def _one_thread(worker: int) -> None:
    """Keep a view worker on one core: the others belong to the training step."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threadpool_limits(1)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f'device is "{name}", but torch sees no CUDA device; use device=cpu')
    return torch.device(name)


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return bf16 autocast where the device has it in hardware, else full precision."""
    if device.type == "cuda":
        enabled = torch.cuda.is_bf16_supported()
    else:
        flags: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        enabled = bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
