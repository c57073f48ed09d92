"""What a cascade computes, apart from its weights: one frozen description for every engine.

Training writes it into ``run.json``, the exporter builds the graph from it, the manifest carries
it, and the PyTorch reference runs by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import is_a

INPUT_TYPES = {"uint8": 255.0, "uint16": 65535.0}
"""Input type of a bundle -> its full scale, the value that becomes 1.0."""
MAX_OPENING = 64
GREY, RGB = "grey", "rgb"
"""``channels`` of images whose colours are of no account, and of colour images."""
MAX_CHANNELS = 32
NORMALISATIONS = ("zscore", "constants", "imagenet")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Red, green and blue of ImageNet in units of the full scale, as torchvision publishes them."""
MODES = ("box", "tiles", "none")
MAX_TILES = 1024
OVERLAPS = (0.0, 0.25, 0.5)
"""Shares of a tile's side that its neighbour may share: at most 2 x 2 tiles hold a pixel."""
MAX_MULTIPLE = 128
"""Largest multiple that an image is padded to: 2 to the deepest network's depth."""
TF32 = "tf32"
"""The precision of an fp32 graph whose plan may round float32 products to 10 bits."""
BF16 = "bf16"
"""The precision of an fp32 graph whose networks OpenVINO computes in bfloat16."""
_KINDS = {"int": int, "float": float, "str": str}
T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """Height and width in pixels of a network's input."""

    height: int
    width: int


@dataclass(frozen=True)
class Normalisation:
    """How pixel values become network input, in units of the full scale (0 to 1).

    ``zscore`` takes mean and standard deviation of the small whole image, per image and channel;
    ``constants`` takes the two numbers given; ``imagenet`` those of ImageNet's colours.
    """

    mode: str = "zscore"
    mean: float = 0.0
    std: float = 1.0

    def constants(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and deviation of each channel; None where they are those of the image."""
        if self.mode == "imagenet":
            return IMAGENET_MEAN, IMAGENET_STD
        return None if self.mode == "zscore" else ((self.mean,) * channels, (self.std,) * channels)


@dataclass(frozen=True)
class Region:
    """Where stage 2 looks.

    ``box``: the bounding box of stage 1's foreground above ``threshold`` that holds a square of
    ``opening`` x ``opening`` coarse cells, widened by ``margin`` of its side at each end, no side
    under ``min_height`` x ``min_width`` image pixels, grown to the shape of the stage-2 input and
    kept inside the image.

    ``tiles``: the ``tiles`` best tiles of the image, of the stage-2 input's size and at the image's
    own resolution, best by stage 1's foreground; all of them where the image has no more, or where
    ``tiles`` is 0. Neighbours share ``overlap`` of their side. The other values mean nothing then.

    ``none``: there is no stage 2.
    """

    mode: str = "box"
    threshold: float = 0.5
    margin: float = 0.15
    min_height: int = 256
    min_width: int = 256
    opening: int = 2
    tiles: int = 0
    overlap: float = 0.25


@dataclass(frozen=True)
class CascadeSpec:
    """Everything about a cascade but its weights.

    ``channels`` is grey, rgb, or a number of channels from 2 to ``MAX_CHANNELS`` as text.
    ``classes`` names the background first. Two names make it binary (sigmoid and
    ``mask_threshold``), more make it multi-class (softmax and argmax). ``pad_multiple`` 0: stage 1
    sees the whole image at the size ``stage1``. Otherwise, and only where there is no stage 2, the
    network sees the image at its own size, padded below and at the right to such a multiple;
    ``stage1`` is then the size of the crops it was trained on. ``window`` holds the values that
    become black and white where files have signed, 32-bit or float pixels, None if none is known.
    """

    input_type: str
    stage1: Size
    stage2: Size | None
    classes: tuple[str, ...]
    normalisation: Normalisation = field(default_factory=Normalisation)
    region: Region = field(default_factory=Region)
    mask_threshold: float = 0.5
    pad_multiple: int = 0
    window: tuple[float, float] | None = None
    channels: str = GREY

    @property
    def binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def input_channels(self) -> int:
        """Channels of an image: 1 for grey, which is (H, W); others are (H, W, C)."""
        return channel_count(self.channels)

    @property
    def channel_side(self) -> tuple[int, ...]:
        """What the shape of an image has after (H, W): nothing for grey, else the channels."""
        return (self.input_channels,) if self.input_channels > 1 else ()

    @property
    def input_kind(self) -> tuple[str, int]:
        """Input type and channels of an image."""
        return self.input_type, self.input_channels

    @property
    def output_channels(self) -> int:
        """Output channels of each network: 1 when binary, else classes with background."""
        return 1 if self.binary else len(self.classes)

    @property
    def full_scale(self) -> float:
        return INPUT_TYPES[self.input_type]

    def as_dict(self) -> dict[str, Any]:
        """Return the description as JSON values; ``window`` and ``channels`` where they matter."""
        values = asdict(self)
        if self.window is None:
            del values["window"]
        if self.channels == GREY:
            del values["channels"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CascadeSpec:
        """Return the description held in JSON values; BundleError names what is wrong."""
        try:
            stage2 = values["stage2"]
            spec = cls(
                input_type=str(values["input_type"]),
                stage1=_typed(Size, values["stage1"]),
                stage2=None if stage2 is None else _typed(Size, stage2),
                classes=_names(values["classes"]),
                normalisation=_typed(Normalisation, values["normalisation"]),
                region=_typed(Region, values["region"]),
                mask_threshold=float(values["mask_threshold"]),
                pad_multiple=_integer(values.get("pad_multiple", 0)),
                window=_window(values.get("window")),
                channels=str(values.get("channels", GREY)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(
                f"the cascade description is incomplete or malformed: {error}"
            ) from error
        spec.check()
        return spec

    def check(self) -> None:
        """Raise BundleError when a value is outside what the graph can express."""
        problems = []
        if self.input_type not in INPUT_TYPES:
            problems.append(
                f'input_type is "{self.input_type}"; expected one of {list(INPUT_TYPES)}'
            )
        if not 2 <= len(self.classes) <= 256:
            problems.append(f"{len(self.classes)} classes; expected 2 to 256, background first")
        if problem := names_problem(self.classes):
            problems.append(problem)
        if self.region.mode not in MODES:
            known = ", ".join(MODES)
            problems.append(f'region mode is "{self.region.mode}"; this version knows {known}')
        if (self.region.mode == "none") != (self.stage2 is None):
            problems.append("region mode none has no stage 2; box and tiles have one")
        problems += self._tile_problems()
        if not 1 <= self.region.opening <= MAX_OPENING or not 0 <= self.region.margin <= 2:
            problems.append(
                f"region opening {self.region.opening}, margin {self.region.margin}; "
                f"expected 1 to {MAX_OPENING} and 0 to 2"
            )
        if not 0 <= self.pad_multiple <= MAX_MULTIPLE or (self.pad_multiple and self.stage2):
            problems.append(
                f"pad_multiple is {self.pad_multiple}; expected 0, "
                f"or 1 to {MAX_MULTIPLE} and no stage 2"
            )
        for name, size in (("stage1", self.stage1), ("stage2", self.stage2)):
            if size is not None and not (2 <= size.height <= 4096 and 2 <= size.width <= 4096):
                problems.append(f"{name} is {size.height}x{size.width}; expected 2 to 4096 a side")
        for name, value in (("mask", self.mask_threshold), ("box", self.region.threshold)):
            if not 0.0 < value < 1.0:
                problems.append(f"{name} threshold is {value}; expected between 0 and 1")
        if self.window is not None and not 1e-300 < self.window[1] - self.window[0] < 1e300:
            problems.append(f"window is {self.window}; expected a number and a higher one")
        known = ", ".join(NORMALISATIONS)
        if self.normalisation.mode not in NORMALISATIONS or self.normalisation.std <= 0:
            problems.append(f"normalisation is {self.normalisation}; expected one of {known}")
        if not channel_count(self.channels):
            problems.append(
                f'channels is "{self.channels}"; expected grey, rgb, or 2 to {MAX_CHANNELS}'
            )
        if self.normalisation.mode == "imagenet" and self.channels != RGB:
            problems.append(
                f'normalisation imagenet is for channels rgb; they are "{self.channels}"'
            )
        if problems:
            raise BundleError("; ".join(problems))

    def _tile_problems(self) -> list[str]:
        problems = []
        region, size = self.region, self.stage2
        if not 0 <= region.tiles <= MAX_TILES or region.overlap not in OVERLAPS:
            problems.append(
                f"region tiles {region.tiles}, overlap {region.overlap}; expected 0 to {MAX_TILES} "
                f"and one of {', '.join(map(str, OVERLAPS))}"
            )
        if region.mode == "tiles" and size and (size.height % 4 or size.width % 4):
            problems.append(f"tiles of {size.height}x{size.width}; expected multiples of 4")
        return problems


def channel_count(channels: str) -> int:
    """Return the channels of an image by the name or number that a description has; 0: neither."""
    named = {GREY: 1, RGB: 3}.get(channels)
    if named is not None:
        return named
    known = channels in map(str, range(2, MAX_CHANNELS + 1))
    return int(channels) if known else 0


def names_problem(names: Sequence[str]) -> str:
    """Return why names cannot tell classes apart; "" where they can. Results go by them."""
    seen: set[str] = set()
    for name in names:
        if not name.strip():
            return "a class has an empty name; expected one of its own for each class"
        if name in seen:
            return f'two classes are called "{name[:40]}"; expected a name of its own for each'
        seen.add(name)
    return ""


def _typed(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    """Return a part of the description; TypeError names a value of another type."""
    made = kind(**values)
    for item in fields(made):  # type: ignore[arg-type]  # every kind here is a dataclass
        expected, value = _KINDS.get(str(item.type)), getattr(made, item.name)
        if expected is not None and not is_a(value, expected):
            raise TypeError(f"{item.name} is {value!r:.40}; expected {expected.__name__}")
    return made


def _integer(value: Any) -> int:
    if not is_a(value, int):
        raise TypeError(f"pad_multiple is {value!r:.40}; expected int")
    return int(value)


def _window(values: Any) -> tuple[float, float] | None:
    """Return the low and high of a window, None where there is none; else TypeError."""
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(is_a(value, float) for value in values):
        raise TypeError(f"window is {values!r:.40}; expected two numbers")
    low, high = map(float, values)
    return low, high


def _names(values: Any) -> tuple[str, ...]:
    """Return the names of the classes; TypeError when they are not a list of texts."""
    if not isinstance(values, list | tuple) or not all(is_a(name, str) for name in values):
        raise TypeError(f"classes are {values!r:.40}; expected a list of names")
    return tuple(values)


def graph_of(precision: str) -> str:
    """Return the precision of the graph that a precision is computed from."""
    return "fp32" if precision in (TF32, BF16) else precision
