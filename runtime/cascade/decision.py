"""Describe what is decided after the network: thresholds, and which pieces of a mask stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveate.runtime.errors import ImageError, SettingsError
from foveate.runtime.io.formats.pixel_size import MILLIMETRES, PixelSize
from foveate.runtime.spec import CascadeSpec

PX = "px"
_MEASURE = re.compile(r"([\d.]+(?:e[-+]?\d+)?)\s*([^\W\d_\u00b2]*)([2\u00b2]?)")
_EXPECTED = {1: "a length such as 2px or 1.5um", 2: "an area such as 30px, 12um2 or 0.5mm2"}


@dataclass(frozen=True)
class Measure:
    """A length (``power`` 1) or an area (``power`` 2); ``unit`` is px or one of MILLIMETRES."""

    name: str
    value: float
    unit: str
    power: int

    @classmethod
    def parse(cls, name: str, given: float | str, power: int) -> Measure:
        """Return a number of pixels, or a text such as ``12um2``; SettingsError names ``name``."""
        found = _MEASURE.fullmatch(str(given).strip())
        unit = (found[2] or PX) if found else ""
        try:
            value = float(found[1]) if found else -1.0
        except ValueError:
            value = -1.0
        squared = bool(found and found[3])
        sound = squared == (power == 2) if unit in MILLIMETRES else unit == PX and squared < power
        if not sound or not 0 <= value < 1e15:
            raise SettingsError(f'{name} is "{given}"; expected {_EXPECTED[power]}')
        return cls(name, value, unit, power)

    def __str__(self) -> str:
        squared = "2" if self.power == 2 and self.unit != PX else ""
        return f"{self.value:.9g}{self.unit}{squared}"

    def per_unit(self, size: PixelSize | None) -> tuple[float, float]:
        """Return how many pixels, across and down, a unit is long.

        ImageError where that needs the size of a pixel and it is not known.
        """
        if self.unit == PX:
            return 1.0, 1.0
        if size is None:
            raise ImageError(
                f"states no pixel size, and {self.name} is {self}; give --pixel-size, or "
                f"{self.name} in pixels"
            )
        return MILLIMETRES[self.unit] / size.width, MILLIMETRES[self.unit] / size.height


@dataclass(frozen=True)
class Decision:
    """What is decided of an image after the network, in this order, for each class apart.

    1. ``threshold``: a pixel counts for a class where the class's probability is over this, between
       0 and 1; of several that count the most probable wins, where none counts is background. A
       number is for all classes, ``"nerve=0.3,vessel=0.5"`` for those named; others count where
       they are the most probable of all. None: the mask of the graph.
    2. ``smooth``: a binary median over squares of this radius, rounded to whole pixels: a pixel has
       the class that more than half of its square has.
    3. ``fill_holes``: background that a class encloses (4-connected) becomes that class, the first
       of several.
    4. ``largest_only``: of each class only the largest 8-connected piece stays.
    5. ``min_area``: smaller 8-connected pieces become background.

    ``smooth`` and ``min_area`` are in pixels, or texts with a unit (``"2px"``, ``"1.5um"``,
    ``"12um2"``, ``"0.5mm2"``). Raises SettingsError for what is none of this.
    """

    threshold: float | str | None = None
    smooth: float | str = 0
    fill_holes: bool = False
    largest_only: bool = False
    min_area: float | str = 0

    def __post_init__(self) -> None:
        self._thresholds()
        _ = self.radius, self.least_area

    @property
    def radius(self) -> Measure:
        return Measure.parse("smooth", self.smooth, 1)

    @property
    def least_area(self) -> Measure:
        return Measure.parse("min-area", self.min_area, 2)

    @property
    def physical(self) -> Measure | None:
        """A length or area that needs the size of a pixel, None where there is none."""
        measures = (self.radius, self.least_area)
        return next((item for item in measures if item.value and item.unit != PX), None)

    def check(self, spec: CascadeSpec) -> None:
        """Raise SettingsError where ``threshold`` names a class that a cascade does not have."""
        known = spec.classes[1:]
        for name in self._thresholds():
            if name and name not in known:
                raise SettingsError(
                    f'threshold names the class "{name}"; the bundle has {", ".join(known)}'
                )

    def label_thresholds(self, spec: CascadeSpec) -> dict[int, float]:
        """Return class index -> threshold, without the classes that have none."""
        given = self._thresholds()
        named = {label: given.get(name, given.get("")) for label, name in enumerate(spec.classes)}
        return {label: value for label, value in named.items() if label and value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return the options as JSON values in one form for equal ones, None for what is unset."""
        parts = [f"{n}={v:.9g}" if n else f"{v:.9g}" for n, v in self._thresholds().items()]
        return {
            "threshold": ",".join(parts) or None,
            "smooth": str(self.radius) if self.radius.value else None,
            "fill_holes": self.fill_holes or None,
            "largest_only": self.largest_only or None,
            "min_area": str(self.least_area) if self.least_area.value else None,
        }

    @property
    def given(self) -> dict[str, Any]:
        """The options that are set, as ``as_dict`` has them."""
        return {name: value for name, value in self.as_dict().items() if value is not None}

    def _thresholds(self) -> Mapping[str, float]:
        """Return class name -> threshold; the name is "" where it is of all classes."""
        if self.threshold is None:
            return {}
        found: dict[str, float] = {}
        for part in str(self.threshold).split(","):
            name, _, value = part.rpartition("=")
            try:
                number = float(value)
            except ValueError:
                number = 0.0
            name = name.strip()
            if not 0 < number < 1 or name in found or (not name and "," in str(self.threshold)):
                raise SettingsError(
                    f'threshold is "{self.threshold}"; expected a number between 0 and 1, or one '
                    "for each of some classes, such as nerve=0.3,vessel=0.5"
                )
            found[name] = number
        return found
