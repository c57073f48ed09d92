"""The options of a TensorRT plan: shapes, limits and targets, and the matching command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.json_files import is_a
from foveate.runtime.limits import MAX_ELEMENTS

MAX_BATCH, MAX_SIDE = 4096, 32768
MAX_WORKSPACE_MB = 1 << 20
CURRENT = "current"
"""The target of TensorRT-RTX for the GPU of the build only."""
TARGET = re.compile(rf"sm\d{{2,3}}|{CURRENT}")


@dataclass(frozen=True)
class Span:
    """The minimum, optimum and maximum of a plan along one axis."""

    min: int
    opt: int
    max: int

    def outside(self, name: str, value: int) -> str:
        """Return what is wrong with a value, an empty text if it lies within."""
        if self.min <= value <= self.max:
            return ""
        allowed = str(self.min) if self.min == self.max else f"{self.min} to {self.max}"
        return f"{name} {value} (it takes {allowed})"


@dataclass(frozen=True)
class Profile:
    """The shapes of a plan: any batch, height and width within the three spans."""

    batch: Span
    height: Span
    width: Span

    def outside(self, batch: int, height: int, width: int) -> str:
        """Return which axes of a shape lie outside, an empty text if the plan covers it."""
        found = (
            self.batch.outside("batch", batch),
            self.height.outside("height", height),
            self.width.outside("width", width),
        )
        return ", ".join(text for text in found if text)

    @property
    def most_pixels(self) -> int:
        """Pixels of the largest batch of the largest images."""
        return self.batch.max * self.height.max * self.width.max


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build.

    ``batch``: minimum, optimum and maximum images. ``sizes``: (height, width) pairs; the smallest
    and largest sides bound the profile, the first pair is the optimum. ``workspace_mb`` 0 leaves
    the limit to TensorRT; ``optimisation_level`` 3 is its default. ``tf32`` rounds float32 products
    to 10 bits. ``targets``, for TensorRT-RTX: compute capabilities such as sm86, or only
    ``current``. ``timing_cache``, ``version_compatible`` and ``hardware_compatible`` are for full
    TensorRT.
    """

    sizes: tuple[tuple[int, int], ...]
    batch: tuple[int, int, int] = (1, 1, 1)
    workspace_mb: int = 0
    optimisation_level: int = 3
    tf32: bool = False
    timing_cache: bool = False
    targets: tuple[str, ...] = ()
    version_compatible: bool = False
    hardware_compatible: bool = False

    @property
    def profile(self) -> Profile:
        heights = [height for height, _ in self.sizes]
        widths = [width for _, width in self.sizes]
        return Profile(Span(*self.batch), _span(heights), _span(widths))

    @property
    def for_this_gpu(self) -> bool:
        """Whether TensorRT-RTX builds only for the GPU of the build."""
        return CURRENT in self.targets

    def check(self, channels: int) -> None:
        """Raise SettingsError unless the options are valid.

        ``channels``: of the graph's widest tensor at image size.
        """
        problems = list(self._problems())
        if problems:
            raise SettingsError("; ".join(problems))
        elements = self.profile.most_pixels * channels
        if elements > MAX_ELEMENTS:
            raise SettingsError(
                f"batch {self.batch[2]} of {self.profile.height.max}x{self.profile.width.max} "
                f"needs tensors of {elements} elements; the limit is {MAX_ELEMENTS}. "
                "Lower --batch or --size"
            )

    def _problems(self) -> list[str]:
        problems = []
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most <= MAX_BATCH:
            given = ",".join(map(str, self.batch))
            problems.append(
                f"--batch is {given}; expected MIN,OPT,MAX in rising order, 1 to {MAX_BATCH}"
            )
        for height, width in self.sizes:
            if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
                problems.append(f"--size {height}x{width}; expected sides of 1 to {MAX_SIDE}")
        if not self.sizes:
            problems.append("--size is missing; expected HxW, for example --size 1024x1024")
        if not 0 <= self.optimisation_level <= 5:
            problems.append(f"--optimisation-level is {self.optimisation_level}; expected 0 to 5")
        if not 0 <= self.workspace_mb <= MAX_WORKSPACE_MB:
            problems.append(
                f"--workspace is {self.workspace_mb} MB; expected 0 (TensorRT's) or more"
            )
        for name in self.targets:
            if not TARGET.fullmatch(name):
                problems.append(f'--target "{name}"; expected compute capabilities such as sm86')
        if self.for_this_gpu and len(self.targets) > 1:
            problems.append(
                f"--target {','.join(self.targets)}; {CURRENT} cannot be combined with others"
            )
        return problems

    def arguments(self) -> list[str]:
        """Return the equivalent arguments of ``foveate build``, without ``--precision``."""
        sizes = ",".join(f"{height}x{width}" for height, width in self.sizes)
        found = ["--batch", ",".join(map(str, self.batch)), "--size", sizes]
        if self.workspace_mb:
            found += ["--workspace", str(self.workspace_mb)]
        if self.optimisation_level != 3:
            found += ["--optimisation-level", str(self.optimisation_level)]
        if self.targets:
            found += ["--target", ",".join(self.targets)]
        flags = ("timing_cache", "version_compatible", "hardware_compatible")
        return found + [f"--{name.replace('_', '-')}" for name in flags if getattr(self, name)]

    def widened(self, batch: int, height: int, width: int) -> BuildOptions:
        """Return options that also cover a shape."""
        values = self.as_dict()
        least, usual, most = self.batch
        values["batch"] = [min(least, batch), usual, max(most, batch)]
        if self.profile.outside(usual, height, width):
            values["sizes"].append([height, width])
        return BuildOptions.from_dict(values)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        values = asdict(self)
        values.update(batch=list(self.batch), targets=list(self.targets))
        return {**values, "sizes": [list(size) for size in self.sizes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BuildOptions:
        """Return the options from JSON values; BundleError names what is wrong."""
        try:
            options = cls(
                **{
                    **values,
                    "sizes": tuple(
                        (_int(height), _int(width)) for height, width in values["sizes"]
                    ),
                    "batch": tuple(_int(count) for count in values["batch"]),
                    "targets": tuple(str(name) for name in values["targets"]),
                }
            )
            problems = options._problems()
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the build options are malformed: {error}") from error
        if problems:
            raise BundleError(f"the build options are malformed: {'; '.join(problems)}")
        return options


def in_order(target: str) -> tuple[int, str]:
    """Return the sort key of a target: sm86 before sm120."""
    return len(target), target


def _span(sides: list[int]) -> Span:
    return Span(min(sides), sides[0], max(sides))


def _int(value: Any) -> int:
    if not is_a(value, int):
        raise TypeError(f"{value!r:.40}; expected int")
    return int(value)
