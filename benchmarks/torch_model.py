"""A run as a model to evaluate: the PyTorch cascade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from foveate.benchmarks.models import Segmented, coarse_mask
from foveate.runtime.cascade import as_input_type
from foveate.runtime.engines.base import Pixels
from foveate.train.run import load_run


class TorchModel:
    """The trained cascade of a run, on the CPU in float32."""

    def __init__(self, path: Path) -> None:
        self.cascade, record = load_run(path)
        self.spec = self.cascade.spec
        self.validation: tuple[str, ...] = tuple(record["data"]["validation"])

    def segment(self, image: Pixels) -> Segmented:
        height, width = image.shape
        pixels = as_input_type(image, self.spec.input_type).astype(np.float32)
        with torch.inference_mode():
            output = self.cascade(torch.from_numpy(pixels)[None])
        coarse = coarse_mask(output.coarse[0].numpy(), height, width, self.spec)
        return Segmented(coarse, output.mask[0].numpy(), output.box[0].numpy())
