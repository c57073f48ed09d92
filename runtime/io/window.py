"""The range of values that becomes black to white, for pixels that are not 8 or 16 bit unsigned."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.errors import ImageError, SettingsError

_ROWS = 64


@dataclass(frozen=True)
class Window:
    """The values that become black (``low``) and white (``high``)."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Window:
        """Return the window written as ``LOW,HIGH``; SettingsError when it is not one."""
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            low = high = 0.0
        if not 1e-300 < high - low < 1e300:  # not for NaN either
            raise SettingsError(
                f'window is "{text}"; expected LOW,HIGH: two numbers, the value that becomes black '
                "and the higher one that becomes white, for example -1000,400"
            )
        return cls(low, high)

    def __str__(self) -> str:
        return ",".join(repr(value).removesuffix(".0") for value in (self.low, self.high))

    def apply(self, values: Array, full_scale: int = 65535) -> Pixels:
        """Return (H, W) numbers as pixels: uint8 for ``full_scale`` 255, uint16 for 65535.

        Linear from ``low`` (0) to ``high`` (``full_scale``) in float64, clipped outside, rounded to
        the nearest integer, halves to even. ImageError where a value is NaN or infinite.
        """
        value_range(values)
        pixels = np.empty(values.shape, np.uint8 if full_scale == 255 else np.uint16)
        for start in range(0, len(values), _ROWS):
            part = values[start : start + _ROWS].astype(np.float64)
            np.clip(part, self.low, self.high, out=part)
            part -= self.low
            part *= full_scale / (self.high - self.low)
            pixels[start : start + _ROWS] = np.rint(part, out=part)
        return pixels


def value_range(values: Array) -> tuple[float, float]:
    """Return the lowest and highest of some values; ImageError where one is NaN or infinite."""
    low, high = float(values.min()), float(values.max())
    if not (isfinite(low) and isfinite(high)):
        nan = int(np.isnan(values).sum())
        infinite = int(np.isinf(values).sum())
        raise ImageError(
            f"has {nan} NaN and {infinite} infinite pixels; expected finite numbers. Replace them "
            "in the file"
        )
    return low, high
