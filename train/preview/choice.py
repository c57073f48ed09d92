"""Which images a preview shows, and why these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foveate.train.data.dataset import DataSet

SHOWN = 8


@dataclass(frozen=True)
class Pick:
    """An image to show, and the reason in words."""

    stem: str
    why: str


def choose(dataset: DataSet, training: Sequence[str], names: Sequence[str]) -> list[Pick]:
    """Return at most SHOWN training images: rare classes, empties, extremes, then any others."""
    contents = dataset.contents
    labels = range(1, len(names) + 1)
    area = {label: sum(contents[stem].areas.get(label, 0) for stem in training) for label in labels}
    found: dict[str, str] = {}

    def add(why: str, key: Callable[[str], float], stems: Sequence[str]) -> None:
        """Take the image with the greatest key of those not taken yet."""
        left = [stem for stem in stems if stem not in found]
        if left and len(found) < SHOWN:
            found[max(left, key=key)] = why

    by_area = sorted(labels, key=lambda label: area[label])
    for place, label in enumerate(by_area[: SHOWN - 4]):
        rarest = ", the rarest class" if place == 0 and len(names) > 1 else ""
        holders = [stem for stem in training if label in contents[stem].areas]
        most = {stem: contents[stem].share(label) for stem in holders}
        least = {stem: -share for stem, share in most.items()}
        add(f'the most of "{names[label - 1]}"{rarest}', most.__getitem__, holders)
        add(f'the least of "{names[label - 1]}"', least.__getitem__, holders)
    add("nothing to find", lambda stem: 0, [stem for stem in training if contents[stem].empty])
    size = {stem: contents[stem].height * contents[stem].width for stem in training}
    if len(set(size.values())) > 1:
        add("the largest", size.__getitem__, training)
        add("the smallest", lambda stem: -size[stem], training)
    step = max(1, len(training) // SHOWN)
    for stem in [*training[::step], *training]:
        add("one of the others", lambda stem: 0, [stem])
    return [Pick(stem, why) for stem, why in found.items()]
