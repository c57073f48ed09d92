"""A run as a model to evaluate: the PyTorch cascade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foveate.benchmarks.evaluation.models import Identity
from foveate.runtime.arrays import Pixels, as_input_type
from foveate.runtime.bundle.bundle import RUN_FILE, file_sha256
from foveate.runtime.result import Result
from foveate.train.runs.run import load_run
from foveate.train.settings.mask_rules import MaskRules


class TorchModel:
    """The trained cascade of a run, on the CPU in float32."""

    def __init__(self, path: Path) -> None:
        self.cascade, record = load_run(path)
        self.spec = self.cascade.spec
        self.training: tuple[str, ...] = tuple(record["data"]["training"])
        self.validation: tuple[str, ...] = tuple(record["data"]["validation"])
        self.masks = MaskRules.of_settings(record["settings"])
        engine = f"torch {torch.__version__} fp32"
        self.identity = Identity(path.resolve().name, "run", file_sha256(path / RUN_FILE), engine)

    def segment(self, image: Pixels) -> Result:
        pixels = as_input_type(image, *self.spec.input_kind).astype(np.float32)
        with torch.inference_mode():
            output = self.cascade(torch.from_numpy(pixels)[None])
        refined = output.refined.numpy()
        return Result(
            mask=output.mask[0].numpy(),
            box_xyxy=output.box[0].numpy(),
            score=float(output.score[0]),
            coarse=output.coarse[0].numpy(),
            refined=refined.reshape(-1, *refined.shape[-2:]),
        )
