"""The range of values that becomes black to white, for pixels that are not 8 or 16 bit unsigned."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from foveate.runtime.arrays import Array, Pixels
from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.spec import CascadeSpec

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
        return f"{_text(self.low)},{_text(self.high)}"

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


def chosen_window(text: str, spec: CascadeSpec) -> Window | None:
    """Return the window of an option, "" for none: then the one that a cascade was trained with."""
    if text:
        return Window.parse(text)
    return Window(*spec.window) if spec.window else None


def through(
    window: Window | None, values: Array, slope: float = 1.0, intercept: float = 0.0
) -> Pixels:
    """Return (H, W) numbers as uint16 by a window; ImageError names one that fits where it is None.

    The numbers are times ``slope`` plus ``intercept``, and the window is of those. ImageError too
    where a value is NaN or infinite.
    """
    sound = slope != 0 and isfinite(slope) and isfinite(intercept)
    low, high = 0.0, 1.0
    if window is not None and sound:
        low, high = sorted((end - intercept) / slope for end in (window.low, window.high))
    if not (sound and 1e-300 < high - low < 1e300):
        raise ImageError(
            f"is rescaled by {slope} and {intercept}; expected finite numbers, the first not 0"
        )
    if window is not None:
        pixels = Window(low, high).apply(values)
        return pixels if slope > 0 else np.subtract(65535, pixels, dtype=np.uint16)
    low, high = sorted(value * slope + intercept for value in value_range(values))
    fitting = Window(low, high if high > low else low + max(1.0, abs(low)))
    raise ImageError(
        f"has {values.dtype} values from {_text(low)} to {_text(high)}; expected 8 or 16 bit "
        f"unsigned, or the values that are black and white: --window {fitting} (in training "
        f"--set window={fitting})"
    )


def value_range(values: Array) -> tuple[float, float]:
    """Return the lowest and highest of some values; ImageError where one is NaN or infinite."""
    low, high = values.min(), values.max()
    if not (isfinite(low) and isfinite(high)):
        nan = int(np.isnan(values).sum())
        infinite = int(np.isinf(values).sum())
        raise ImageError(
            f"has {nan} NaN and {infinite} infinite pixels; expected finite numbers. Replace them "
            "in the file"
        )
    return float(str(low)), float(str(high))  # 0.1 in float32 is said as 0.1


def _text(value: float) -> str:
    return repr(value).removesuffix(".0")
