"""Every setting of a training and its default; from Python, TOML and ``--set``."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.window import Window
from foveate.runtime.spec import GREY, MAX_CHANNELS, NORMALISATIONS, RGB, channel_count
from foveate.train.settings.mask_rules import MaskRules
from foveate.train.settings.network_choice import ENCODERS, IMAGENET, NAMES, NetworkChoice, Networks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOSSES = ("cross_entropy_dice", "cross_entropy", "dice", "focal", "tversky", "focal_tversky")
OF_PRESETS = ("horizontal_flip", "vertical_flip", "rotate_degrees", "brightness_contrast")
PRESETS = {
    name: dict(zip(OF_PRESETS, values, strict=True))
    for name, values in {
        "none": (0.0, 0.0, 0.0, 0.0), "light": (0.5, 0.0, 5.0, 0.1),
        "standard": (0.5, 0.5, 15.0, 0.2), "medical": (0.5, 0.0, 20.0, 0.3),
        "industrial": (0.5, 0.5, 10.0, 0.25),
    }.items()
}  # fmt: skip
"""Preset -> the settings that it sets; what else it does is in ``augment``."""
CHOICES = {
    "augmentation": tuple(PRESETS), "network": NAMES, "loss": LOSSES,
    "single_input": ("resized", "full"), "region_mode": ("box", "tiles"),
    "normalisation": NORMALISATIONS,
}  # fmt: skip
LIMITS = {
    "width": (1, 256), "depth": (1, 7), "stage2_width": (0, 256), "stage2_depth": (0, 7),
    "batch_size": (1, 4096), "num_epochs": (1, 10**6),
    "max_minutes": (0, 10**6), "num_workers": (0, 64), "val_fraction": (0.01, 0.9),
    "horizontal_flip": (0, 1), "vertical_flip": (0, 1), "rotate_degrees": (0, 180),
    "brightness_contrast": (0, 1), "margin": (0, 2), "learning_rate": (1e-7, 1),
    "weight_decay": (0, 1), "seed": (0, 2**32 - 1),
    "cache_gb": (0, 10**6), "hint_folds": (0, 20), "focal_gamma": (0, 10),
    "tversky_alpha": (0.01, 10), "tversky_beta": (0.01, 10), "tversky_gamma": (1, 10),
    "mask_threshold": (0, 65535), "ignore_value": (-1, 65535), "threads": (0, 1024),
}  # fmt: skip
PRESET = math.nan
"""A setting that is not set: the augmentation preset has its value."""


@dataclass(frozen=True)
class Settings:
    """Settings of one training; what each means is in ``meanings``.

    SettingsError names an unknown key with the nearest known one, a value of another type and one
    out of range, wherever they come from.
    """

    data_dir: str = ""
    image_dir_name: str = "images"
    mask_dir_name: str = "masks"
    channels: str = GREY
    mask_threshold: int = 0
    mask_values: str = ""
    mask_colours: str = ""
    mask_instances: bool = False
    ignore_value: int = -1
    image_height: int = 256
    image_width: int = 256
    single_input: str = "resized"
    crop_height: int = 0
    crop_width: int = 0
    region_mode: str = "box"
    width: int = 16
    depth: int = 4
    network: str = "unet"
    stage2_network: str = ""
    stage2_width: int = 0
    stage2_depth: int = 0
    encoder_weights: str = ""
    loss: str = "cross_entropy_dice"
    class_weights: str = ""
    focal_gamma: float = 2.0
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7
    tversky_gamma: float = 4 / 3
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    num_epochs: int = 40
    max_minutes: float = 0.0
    device: str = "auto"
    threads: int = 0
    num_workers: int = 1
    cache_gb: float = 0.0
    seed: int = 0
    val_fraction: float = 0.15
    window: str = ""
    normalisation: str = "zscore"
    augmentation: str = "standard"
    horizontal_flip: float = PRESET
    vertical_flip: float = PRESET
    rotate_degrees: float = PRESET
    brightness_contrast: float = PRESET
    hint_folds: int = 3
    margin: float = 0.0
    class_names: str = ""
    data_licence: str = ""

    def __new__(cls, **values: Any) -> Settings:
        for key in values:
            check_name(key)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, names in CHOICES.items():
            _check_choice(name, str(getattr(self, name)), names)
        if self.stage2_network:
            _check_choice("stage2_network", str(self.stage2_network), NAMES)
        preset = PRESETS[self.augmentation]
        for item in fields(self):
            value = getattr(self, item.name)
            value = preset[item.name] if value is PRESET else value
            object.__setattr__(self, item.name, _typed(item.name, value))
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is None:
            raise SettingsError(f'device is "{self.device}"; expected auto, cpu, cuda or cuda:N')
        of_stage2 = "stage2_depth" if self.stage2_depth else "depth"
        for name, value, depth in (
            ("image_height", self.image_height, "depth"),
            ("image_width", self.image_width, "depth"),
            ("crop_height", self.crop_size[0], of_stage2),
            ("crop_width", self.crop_size[1], of_stage2),
        ):
            step = 2 ** min(getattr(self, depth), 7)
            if value % step or value <= 0:
                low = max(value // step * step, step)
                raise SettingsError(
                    f"{name} is {value}; expected a multiple of 2**{depth} = {step}, "
                    f"for example {low} or {low + step}"
                )
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}; expected {low} to {high}")
        sizes = (self.image_height, self.image_width), self.crop_size
        for size, choice in zip(sizes, (self.networks.stage1, self.networks.stage2), strict=True):
            if self.batch_size == 1 and size == (choice.multiple, choice.multiple):
                raise SettingsError(
                    f"batch_size is 1 and an input is {size[0]}x{size[1]}: BatchNorm would see one "
                    "value. Expected a batch_size of 2 or more, or a larger input"
                )
        if problem := self.networks.problem():
            raise SettingsError(problem)
        self._check_encoder_weights()
        if not channel_count(self.channels):
            raise SettingsError(
                f'channels is "{self.channels}"; expected grey, rgb, or 2 to {MAX_CHANNELS}'
            )
        if self.normalisation == "imagenet" and self.channels != RGB:
            raise SettingsError(
                f'normalisation=imagenet goes with channels=rgb; got channels "{self.channels}"'
            )
        if self.masks.names and self.class_names:
            raise SettingsError(
                f"class_names is {self.class_names}, and {self.masks.words} names the classes; "
                "leave class_names out"
            )
        if self.window:
            Window.parse(self.window)
        if self.hint_folds == 1:
            raise SettingsError("hint_folds is 1; expected 0 (none) or at least 2")
        if self.region_mode == "tiles" and any(side % 4 for side in self.crop_size):
            sides = "x".join(map(str, self.crop_size))
            raise SettingsError(f"tiles are {sides}; expected crop sides that are multiples of 4")

    def _check_encoder_weights(self) -> None:
        """Raise SettingsError where no stage has an encoder that they can be of."""
        names = dict.fromkeys((self.networks.stage1.name, self.networks.stage2.name))
        if self.encoder_weights and names.keys().isdisjoint(ENCODERS):
            raise SettingsError(
                f"encoder_weights go with a network that has an encoder; got {' and '.join(names)}"
                f". Expected network to be one of {', '.join(ENCODERS)}"
            )
        if self.encoder_weights == "imagenet" and names.keys().isdisjoint(IMAGENET):
            raise SettingsError(
                f"encoder_weights imagenet: there are none of {' or '.join(names)}; expected "
                f"network to be {' or '.join(IMAGENET)}, or a file of weights"
            )

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the stage-2 input."""
        return self.crop_height or self.image_height, self.crop_width or self.image_width

    @property
    def network_choice(self) -> NetworkChoice:
        """The network of stage 1, and of single."""
        return self.networks.stage1

    @property
    def networks(self) -> Networks:
        """The networks of both stages."""
        return Networks.of_settings(vars(self))

    @property
    def masks(self) -> MaskRules:
        """How mask files are read."""
        return MaskRules.of_settings(vars(self))

    def as_dict(self) -> dict[str, Any]:
        """Return every setting, those of the augmentation preset by their values."""
        return asdict(self)

    def but(self, **values: Any) -> Settings:
        """Return the settings with others by name; another preset brings its own values along."""
        own = self.as_dict()
        if values.get("augmentation", self.augmentation) != self.augmentation:
            preset = PRESETS[self.augmentation]
            own = {key: value for key, value in own.items() if preset.get(key, None) != value}
        return Settings(**{**own, **values})


def _check_choice(setting: str, value: str, names: Sequence[str]) -> None:
    """Raise SettingsError, with the nearest of the names, unless the value is one of them."""
    if value not in names:
        near = difflib.get_close_matches(value, names, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f'there is no {setting} "{value}"; the nearest is "{near}". '
            f"Expected one of {', '.join(names)}"
        )


def load_settings(config: str | Path | None, assignments: Sequence[str] = ()) -> Settings:
    """Return settings from the defaults, a TOML file and ``key=value`` lines, in that order."""
    return Settings(**read_values(Path(config) if config else None, assignments))


def read_values(config: Path | None, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a TOML file and ``key=value`` lines set; the lines go over the file."""
    values = read_toml(config) if config is not None else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f'--set "{assignment}": expected key=value')
        values[key.strip()] = text.strip()
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file; SettingsError says why it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error


def check_name(key: str) -> None:
    """Raise SettingsError, with the nearest name, where there is no setting of this name."""
    names = [item.name for item in fields(Settings)]
    if key not in names:
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
        raise SettingsError(f'there is no setting "{key}"; the nearest is "{near[0]}"')


def _typed(key: str, value: Any) -> Any:
    """Return the value as the type of the setting's default."""
    expected: Callable[[Any], Any] = type(getattr(Settings, key))
    try:
        if expected is int and isinstance(value, float | bool):
            raise ValueError
        if expected is bool:
            return {"true": True, "false": False}[str(value).lower()]
        return expected(value)
    except (KeyError, TypeError, ValueError):
        words = "true or false" if expected is bool else expected.__name__
        raise SettingsError(f"{key} is {value!r}; expected {words}") from None


def parse_weights(text: str, classes: int) -> tuple[float, ...]:
    """Return the weights of ``classes`` classes, background first, written with commas between.

    SettingsError when they are not that many numbers, one is negative, or none of the foreground
    is over 0.
    """
    expected = (
        f"expected auto, or {classes} numbers with commas between, the background's first, none "
        "negative, and of the foreground one over 0"
    )
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f'class_weights is "{text}"; {expected}') from None
    sound = all(0 <= weight < 1e6 for weight in weights) and sum(weights[1:]) > 0
    if len(weights) != classes or not sound:
        raise SettingsError(f'class_weights is "{text}"; {expected}')
    return weights
