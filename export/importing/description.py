"""What the user says of imported networks, and the cascade that it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveate.export.importing.stage import ImportedNetwork
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.spec import (
    GREY,
    RGB,
    CascadeSpec,
    Normalisation,
    Region,
    Size,
)


@dataclass(frozen=True)
class ImportSettings:
    """What no file says of a network; ``foveate import --help`` has the words for it.

    ``sizes`` are those of the stages, for networks that take any. ``classes`` are the names of the
    foreground classes, "" where they are numbered. ``channels`` are grey, rgb or a number.
    """

    normalise: str
    activation: str = ""
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    sizes: tuple[Size, ...] = ()
    hint: bool = False
    pad_multiple: int = 0
    licence: str = ""
    channels: str = GREY

    def size(self, stage: int) -> Size | None:
        return self.sizes[min(stage, len(self.sizes) - 1)] if self.sizes else None

    def output(self, stage: int) -> str:
        return self.outputs[min(stage, len(self.outputs) - 1)] if self.outputs else ""


def imported_spec(
    networks: Sequence[ImportedNetwork], sizes: Sequence[Size | None], settings: ImportSettings
) -> CascadeSpec:
    """Return the cascade; SettingsError where classes or normalisation do not fit."""
    counts = [network.plan.interface.maps for network in networks]
    labels = [max(1, count - 1) for count in counts]
    if len(set(labels)) > 1:
        raise BundleError(
            f"stage 1 gives {counts[0]} map(s) and stage 2 {counts[1]}; expected as many classes"
        )
    numbered = (
        ("foreground",) if labels[0] == 1 else tuple(f"class {n + 1}" for n in range(labels[0]))
    )
    classes = settings.classes or numbered
    if len(classes) != labels[0]:
        raise SettingsError(
            f"--classes: {len(classes)} name(s) for {labels[0]} foreground class(es); the "
            "background is not named"
        )
    stage1, stage2 = (*sizes, None)[:2]
    assert stage1 is not None
    region = Region(mode="none")
    if stage2 is not None:
        region = Region(min_height=stage2.height, min_width=stage2.width)
    spec = CascadeSpec(
        input_type="uint8",
        stage1=stage1,
        stage2=stage2,
        classes=("background", *classes),
        normalisation=normalisation_of(settings),
        region=region,
        pad_multiple=settings.pad_multiple,
        channels=settings.channels,
    )
    try:
        spec.check()
    except BundleError as error:
        raise SettingsError(f"--classes, --size or --pad-multiple: {error}") from None
    return spec


def normalisation_of(settings: ImportSettings) -> Normalisation:
    """Return what the spec does to pixels; of grey ImageNet's constants follow later."""
    text, unchanged = settings.normalise, Normalisation("constants", 0.0, 1.0)
    known = {
        "zscore": Normalisation(),
        "0-1": unchanged,
        "imagenet": Normalisation("imagenet") if settings.channels == RGB else unchanged,
        "0-255": Normalisation("constants", 0.0, 1 / 255),
    }
    if text in known:
        return known[text]
    try:
        mean, std = map(float, text.split(","))
        if not (0 <= mean <= 1 and 0 < std <= 1):
            raise ValueError
    except ValueError:
        raise SettingsError(
            f'--normalise "{text}": expected zscore, 0-1, 0-255, imagenet, or MEAN,STD of pixels '
            "from 0 to 1, such as 0.5,0.25: as in the network's training"
        ) from None
    return Normalisation("constants", mean, std)
