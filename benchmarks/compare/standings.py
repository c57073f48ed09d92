"""Who is faster and who is better than foveate in a comparison, in words; losses first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveate.benchmarks.report import units

Method = Mapping[str, Any]
DICE_APART = 0.001
"""Two Dice closer than this are called the same."""


def standings(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """Return (style, sentence) of who is faster, level, slower and better than foveate here.

    Faster is a method whose spread lies below 1, level one whose spread holds 1.
    """
    here = [item for item in methods if item["here"]]
    ours = next((item for item in here if item["key"] == "foveate"), None)
    others = sorted((i for i in here if i is not ours), key=lambda item: item["ratio"]["median"])
    if ours is None or not others:
        return []
    faster = [item for item in others if item["ratio"]["high"] < 1]
    slower = [item for item in others if item["ratio"]["low"] > 1]
    level = [item for item in others if item not in faster and item not in slower]
    found = [
        ("poor", "Faster than foveate: ", faster),
        ("fair", "Level with foveate (the spread of the ratio holds 1): ", level),
        ("good", "Slower than foveate: ", slower),
    ]
    words = [(style, text + "; ".join(map(_time, items)) + ".") for style, text, items in found]
    words = [words[index] for index, (_, _, items) in enumerate(found) if items]
    if not faster:
        words.insert(0, ("good", "No method measured here is faster than foveate."))
    return words + _better(ours, others)


def _time(item: Method) -> str:
    return f"{item['name']} ({units.ratio(item['ratio'])} times our time)"


def _better(ours: Method, others: Sequence[Method]) -> list[tuple[str, str]]:
    if ours["dice"] is None:
        return []
    better = [
        f"{item['name']} ({units.dice(item['dice'])})"
        for item in others
        if item["dice"] is not None and item["dice"] > ours["dice"] + DICE_APART
    ]
    text = f"Higher Dice than foveate's {units.dice(ours['dice'])}: {'; '.join(better)}."
    return [("poor", text)] if better else []
