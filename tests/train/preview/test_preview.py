"""``--preview``: sheets of what training will see, and the data in words; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import OutputError
from foveate.train.data.dataset import load_dataset
from foveate.train.data.phantom import PhantomSettings, write_phantoms
from foveate.train.data.summary import percent, summary
from foveate.train.preview.sheet import EDGE, GAP, SIDE
from foveate.train.preview.sheets import SHOWN, choose
from tests.conftest import TINY, run

TITLE_HEIGHT = 150
"""Above this a sheet holds words only."""


@pytest.fixture(scope="module")
def few_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of two classes, a sixteenth as bright; one image in three is empty."""
    root = tmp_path_factory.mktemp("few")
    list(write_phantoms(root, PhantomSettings(14, 160, seed=6, classes=2, empty_fraction=0.3)))
    for path in (root / "images").iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), image >> 4)
    return root


def preview(root: Path, out: Path, *more: str) -> tuple[str, list[Path]]:
    """Return what is said and the sheets written."""
    settings = [item for value in (*TINY, *more) for item in ("--set", value)]
    stages = ["--stages", "single"] if "single_input=full" in more else []
    result = run("train", root, "--preview", out, *settings, *stages)
    assert result.exception is None, result.exception
    return result.output, [Path(line) for line in result.output.splitlines() if "png" in line]


def columns(path: Path) -> int:
    with Image.open(path) as sheet:
        return round((sheet.width - 2 * EDGE + GAP) / (SIDE + GAP))


@pytest.mark.parametrize(
    ("more", "across"),
    [((), [4, 5, 5]), (("region_mode=tiles",), [4, 5, 5]), (("single_input=full",), [4, 4])],
)
def test_sheets_are_written_and_nothing_is_trained(
    few_bits: Path, tmp_path: Path, more: tuple[str, ...], across: list[int]
) -> None:
    said, paths = preview(few_bits, tmp_path / "sheets", *more)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "sheets", *sorted(paths)]
    assert [columns(path) for path in paths] == across
    assert "12 images: training" in said and "no groups.tsv" in said
    assert "Targets: " in said and "What suits them: " in said
    assert "the bundle will take uint16" in said and "are kept in memory" in said


def test_images_of_few_bits_can_be_seen(few_bits: Path, tmp_path: Path) -> None:
    """A sixteenth of the scale would be black; every picture has light and dark."""
    _, paths = preview(few_bits, tmp_path)
    sheet = cv2.imread(str(paths[0]), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    tops = [TITLE_HEIGHT, TITLE_HEIGHT + SIDE + 80 + 2 * GAP + 30]
    for top in tops:
        for column in range(4):
            left = EDGE + column * (SIDE + GAP)
            tile = sheet[top : top + SIDE // 2, left + 20 : left + SIDE - 20]
            assert np.percentile(tile, 95) - np.percentile(tile, 5) > 25


def test_colours_are_shown(tmp_path: Path) -> None:
    """Of grey images only frames and outlines have colours; of colour images every tile has."""
    list(write_phantoms(tmp_path / "data", PhantomSettings(6, 160, seed=6, bits=8, channels="rgb")))
    shares = []
    for channels in ("grey", "rgb"):
        _, paths = preview(tmp_path / "data", tmp_path / channels, f"channels={channels}")
        sheets = [np.asarray(Image.open(path).convert("RGB"), np.int16) for path in paths]
        shares.append([float(np.mean(np.ptp(sheet, axis=2) > 40)) for sheet in sheets])
    assert max(shares[0]) < 0.02 and min(shares[1]) > 0.1


def test_rare_classes_and_empty_images_are_shown(few_bits: Path) -> None:
    dataset = load_dataset(few_bits)
    chosen = choose(dataset, dataset.stems, ["one", "two"])
    picks = {why: stem for stem, why in chosen.items()}
    assert len(picks) <= SHOWN and dataset.contents[picks["nothing to find"]].empty
    rarest = min((1, 2), key=lambda label: sum(_area(dataset, label)))
    name = ["one", "two"][rarest - 1]
    most = picks[f'the most of "{name}", the rarest class']
    assert dataset.contents[most].areas[rarest] == max(_area(dataset, rarest))
    assert len(chosen) == SHOWN
    assert len(choose(dataset, dataset.stems[:3], ["one", "two"])) == 3


def _area(dataset: object, label: int) -> list[int]:
    return [item.areas.get(label, 0) for item in dataset.contents.values()]  # type: ignore[attr-defined]


def test_the_summary_counts(few_bits: Path) -> None:
    (few_bits / "groups.tsv").write_text("phantom_006_0000\ta\nphantom_006_0001\ta\n")
    dataset = load_dataset(few_bits)
    (few_bits / "groups.tsv").unlink()
    masks = np.stack([dataset.mask(stem) for stem in dataset.stems])
    lines = summary(dataset, dataset.stems[:10], dataset.stems[10:], ["one", "two"])
    assert lines[0] == "14 images: training 10 in 9 groups, validation 4 in 4 groups."
    assert "all 160 x 128 to" not in lines[1] and "7 of 16 bit and 7 of 8 bit" in lines[1]
    assert f"{percent(float((masks == 2).mean()))} of all pixels" in lines[3]
    empty = sum(not mask.any() for mask in masks)
    assert lines[4].startswith(f"Empty masks: {empty} (")


@pytest.mark.parametrize(
    ("share", "words"), [(0.1234, "12%"), (0.00123, "0.12%"), (0.000012, "0.0012%"), (1.0, "100%")]
)
def test_shares_keep_two_digits(share: float, words: str) -> None:
    assert percent(share) == words


def test_a_folder_that_cannot_be_written_is_named(few_bits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = [item for value in TINY for item in ("--set", value)]
    result = run("train", few_bits, "--preview", tmp_path / "file", *settings)
    assert isinstance(result.exception, OutputError) and "file" in str(result.exception)
