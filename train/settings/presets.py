"""Augmentation presets by name: what each sets where the user sets nothing."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass

from foveate.runtime.errors import SettingsError


@dataclass(frozen=True)
class Preset:
    """Defaults of the settings of these names; what else a preset does is in ``augment``."""

    horizontal_flip: float
    vertical_flip: float
    rotate_degrees: float
    brightness_contrast: float


PRESETS = {
    "none": Preset(0.0, 0.0, 0.0, 0.0),
    "light": Preset(0.5, 0.0, 5.0, 0.1),
    "standard": Preset(0.5, 0.5, 15.0, 0.2),
    "medical": Preset(0.5, 0.0, 20.0, 0.3),
    "industrial": Preset(0.5, 0.5, 10.0, 0.25),
}


def preset_settings(name: str) -> dict[str, float]:
    """Return setting -> value of a preset; SettingsError names the nearest for an unknown one."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f'there is no augmentation "{name}"; the nearest is "{near}". '
            f"Wanted {', '.join(PRESETS)}"
        )
    return asdict(PRESETS[name])
