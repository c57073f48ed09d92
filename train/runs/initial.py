"""Beginning with the weights of another run, or of an encoder that was trained elsewhere."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from foveate.runtime.bundle.bundle import RUN_FILE
from foveate.runtime.errors import DataError, SettingsError
from foveate.runtime.spec import GREY
from foveate.train.runs.job import TrainingJob
from foveate.train.runs.run import check_tensors, data_named, load_tensors, read_run
from foveate.train.settings.network_choice import NetworkChoice, Networks


class Initial:
    """The run that a training begins with, if any; it is named in the record.

    SettingsError when its networks are of another kind, DataError when it was trained on the same
    images: its knowledge of the validation images would flatter every figure of the new run.
    """

    def __init__(self, job: TrainingJob, record: dict[str, Any]) -> None:
        self.folder, self.log, self.stages = job.init, job.log, record["stages"]
        self.settings = job.settings
        stated = record.get("init")
        if self.folder is None:
            if stated:
                raise SettingsError(
                    f"{job.folder} was started with --init {stated['name']}; give it again"
                )
            return
        run = read_run(self.folder)
        _check(self.folder, run, record)
        digest = hashlib.sha256((self.folder / RUN_FILE).read_bytes()).hexdigest()
        made = {
            "name": self.folder.resolve().name,
            "run_sha256": digest,
            "data": data_named(run),
        }
        if stated is None and any(stage["curve"] for stage in record["stages"].values()):
            raise SettingsError(f"{job.folder} was started without --init; leave it out")
        if stated not in (None, made):
            raise SettingsError(
                f"{job.folder} was started with another --init, {stated['name']} "
                f"({stated['run_sha256'][:12]}); got {made['name']} ({digest[:12]})"
            )
        record["init"] = made
        self.run = run

    def into(self, network: nn.Module, name: str, own: str = "") -> None:
        """Put the weights of a stage into a network; a last layer for other classes stays new.

        ``own`` is the network's name in this run, when it is another than the stage's. A network
        that has been trained already is left as it is.
        """
        own = own or name
        if self.stages.get(own, {}).get("curve"):
            return
        if name == "stage1" or not self.settings.networks.equal:
            self._load_encoder(network, name)
        if self.folder is None or not self.run["stages"].get(name, {}).get("done"):
            return
        path = self.folder / f"{name}.safetensors"
        tensors, present = load_tensors(path), network.state_dict()
        new = {
            key: present[key]
            for key in list(present)[-2:]
            if key in tensors and tensors[key].shape != present[key].shape
        }
        check_tensors(present, {**tensors, **new}, path)
        network.load_state_dict({**tensors, **new})
        self.log(
            f"{own} starts from the weights of {self.folder}"
            + (", but for its last layer: the classes differ." if new else ".")
        )

    def _load_encoder(self, network: nn.Module, name: str) -> None:
        """Put ``encoder_weights`` into a stage's network if its encoder takes them."""
        if not self.settings.encoder_weights:
            return
        from foveate.train.networks.encoders import load_encoder

        networks = self.settings.networks
        choice = networks.stage2 if name == "stage2" else networks.stage1
        if choice in self._encoders:
            load_encoder(network, self._encoders[choice], self.settings.channels)

    @cached_property
    def _encoders(self) -> dict[NetworkChoice, Any]:
        """The encoders that take ``encoder_weights``, read once for all networks of the run."""
        from foveate.train.networks.encoders import colour_encoders

        networks = self.settings.networks
        return colour_encoders((networks.stage1, networks.stage2), self.settings.encoder_weights)


def _check(folder: Path, run: dict[str, Any], record: dict[str, Any]) -> None:
    old, new = (Networks.of_settings(one["settings"]) for one in (run, record))
    pairs: dict[str, tuple[object, object]] = {"stage 1": (old.stage1, new.stage1)}
    if run["kind"] == record["kind"] == "cascade":
        pairs["stage 2"] = (old.stage2, new.stage2)
    channels = [one["spec"].get("channels", GREY) for one in (run, record)]
    pairs["channels"] = channels[0], channels[1]
    other = [f"{stage} {was} -> {now}" for stage, (was, now) in pairs.items() if was != now]
    if other:
        raise SettingsError(
            f"--init {folder} has other networks: {'; '.join(other)}. Set them as they are there"
        )
    if run["data"]["fingerprint"] == record["data"]["fingerprint"]:
        raise DataError(
            f"--init {folder} was trained on these same images, possibly including the validation "
            "images; continue it with --resume, or start from a run on other images"
        )
