"""How long a mask takes to become PNG: Pillow, OpenCV, and what ``foveate segment`` uses.

``python -m foveate.benchmarks.mask_encoders`` prints medians of interleaved runs on one core, for
a smooth and a ragged mask; every encoder's file is decoded and compared before it is timed.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from foveate.runtime.mask_files import encode_mask

Mask = npt.NDArray[np.uint8]
Encoder = Callable[[Mask], bytes]
SIZES = ((128, 128), (1024, 1024), (950, 2700))
ROUNDS = 31
_OPENCV = (cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1)


def _pillow(mask: Mask) -> bytes:
    image = Image.fromarray((mask > 0).astype(np.uint8) * np.uint8(255))
    buffer = io.BytesIO()
    image.convert("1", dither=Image.Dither.NONE).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _pillow_palette(mask: Mask) -> bytes:
    image = Image.fromarray(mask).convert("L")
    image.putpalette(list(range(256)) * 3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _opencv(mask: Mask) -> bytes:
    done, data = cv2.imencode(".png", mask, _OPENCV)
    assert done
    return data.tobytes()


BINARY: dict[str, Encoder] = {
    "Pillow": _pillow,
    "OpenCV": _opencv,
    "foveate": lambda mask: encode_mask(mask, 2),
}
CLASSES: dict[str, Encoder] = {
    "Pillow, palette": _pillow_palette,
    "foveate, 3 classes": lambda mask: encode_mask(mask, 3),
    "foveate, 17 classes": lambda mask: encode_mask(mask, 17),
}


def _masks(height: int, width: int) -> Iterator[tuple[str, Mask]]:
    """Yield an ellipse, and islands with ragged coasts, each (H, W) of 0 and 1."""
    smooth = np.zeros((height, width), np.uint8)
    centre, axes = (width // 2, height // 2), (width // 3, height // 3)
    cv2.ellipse(smooth, centre, axes, 0, 0, 360, 1, -1)
    yield "smooth", smooth
    noise = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    land = cv2.GaussianBlur(noise, (0, 0), 6)
    yield "ragged", (land > land.std() / 2).astype(np.uint8)


def _check(encoder: Encoder, mask: Mask) -> int:
    """Return the size of an encoder's file after its pixels were compared."""
    data = encoder(mask)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), mask)
    return len(data)


def _medians(encoders: dict[str, Encoder], mask: Mask, rounds: int) -> dict[str, float]:
    """Return milliseconds a mask, by encoder, taken by turns."""
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder(mask)
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


def report(rounds: int = ROUNDS) -> Iterator[str]:
    """Yield the lines of the table."""
    cv2.setNumThreads(1)
    for height, width in SIZES:
        for kind, mask in _masks(height, width):
            for encoders, values in ((BINARY, mask), (CLASSES, mask * np.uint8(2))):
                sizes = {name: _check(encoder, values) for name, encoder in encoders.items()}
                for name, milliseconds in _medians(encoders, values, rounds).items():
                    place = f"{width}x{height} {kind}"
                    yield f"{place:18} {name:20} {milliseconds:8.3f} ms {sizes[name]:9,} bytes"


if __name__ == "__main__":
    for line in report():
        print(line)
