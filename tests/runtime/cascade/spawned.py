"""What a spawned process runs: it imports this module by its name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foveate.runtime import Cascade


def mask_in_here(bundle: str, engine: str, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the mask of an image by a cascade that this process loads."""
    with Cascade.load(bundle, engine, threads=1) as cascade:
        return cascade.submit(image).result().mask
