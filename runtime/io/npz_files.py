"""Results as numpy archives that load without pickle, the same bytes for the same result."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import numpy.typing as npt

from foveate.runtime.result import Result
from foveate.runtime.spec import CascadeSpec


def encode_npz(result: Result, spec: CascadeSpec, probabilities: bool) -> bytes:
    """Return the NPZ of a result; ``probabilities`` adds ``coarse`` and ``refined`` as they are."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "mask": result.mask,
        "box_xyxy": result.box_xyxy,
        "score": np.array(result.score),
        "classes": np.array(spec.classes),
    }
    if probabilities and result.coarse is not None and result.refined is not None:
        arrays |= {"coarse": result.coarse, "refined": result.refined}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():  # np.savez_compressed deflates at level 6 only
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()
