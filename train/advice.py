"""Say what a data set asks for, next to what a training is set to; before anything is trained."""

from __future__ import annotations

from foveate.train.configure import BUDGETS, CELLS, FILLS, against_cascade, fitted
from foveate.train.data.survey import PARTS, Survey
from foveate.train.settings.settings import Settings

SQUEEZED = 1.25
"""From this ratio on, a view does not keep the images' shape."""


def advice(data: Survey, settings: Settings, stages: str, budget: str) -> list[str]:
    """Return what the targets are, what suits them, and what the settings do to them."""
    weights = settings.encoder_weights or "random"
    return [
        f"Network: {settings.networks.stage1}, {weights} weights.",
        _targets(data),
        *_verdict(data, settings, stages, budget),
        *_first_view(data, settings, stages),
    ]


def colour_note(data: Survey) -> list[str]:
    """Return what is lost of colour images that are read as grey."""
    if not data.coloured:
        return []
    return [
        f"Note: {data.coloured} of {data.checked} images looked at are in colour; they are read as "
        "grey. channels=rgb keeps colours."
    ]


def _targets(data: Survey) -> str:
    (few, middle, many), (small, typical, large) = data.counts, data.sides
    return (
        f"Targets: {few} to {many} in an image, median {middle}; a small one is {small:.0f} "
        f"pixels wide, a typical one {typical:.0f}, a large one {large:.0f} (square root of the "
        "area)."
    )


def _verdict(data: Survey, settings: Settings, stages: str, budget: str) -> list[str]:
    """Return whether box, tiles or single suits the data, and ways out where it is not set."""
    reason = against_cascade(data, BUDGETS[budget])
    if not reason:
        suits = f"the box around all targets is {data.box_share:.0%} of the image (median)"
        return [f"What suits them: a cascade with a box, since {suits}."]
    found = [f"What suits them: single (one network at the images' own size), since {reason}."]
    if stages in ("both", "2") and settings.region_mode == "box":
        note = "Note: this training is set to a cascade with a box. --stages single is a way out"
        if data.box_share >= FILLS:
            note += (
                "; another is --set region_mode=tiles, where stage 2 sees the best tiles: targets "
                f"lie in {data.parts:.0%} of an image's {PARTS * PARTS} parts (median)"
            )
        found.append(f"{note}.")
    return found


def _first_view(data: Survey, settings: Settings, stages: str) -> list[str]:
    """Return what stage 1's size, or that of a resized single, does to shape and targets."""
    if stages == "single" and settings.single_input == "full":
        return []
    height, width = settings.image_height, settings.image_width
    down, across = height / data.height, width / data.width
    kept = data.side * (down * across) ** 0.5
    who = "The network" if stages == "single" else "Stage 1"
    found = [
        f"{who} sees {data.width} x {data.height} pixels as {width} x {height}: a small target "
        f"keeps {kept:.1f} of its {data.side:.0f} pixels; about {CELLS} suffice."
    ]
    if max(down / across, across / down) >= SQUEEZED:
        rows, columns = fitted(data.height, data.width, height * width)
        found.append(
            "Note: that is another shape than the images have, so targets are squeezed. "
            f"image_height={rows} and image_width={columns} keep it."
        )
    return found
