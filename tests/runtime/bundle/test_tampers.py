"""Tampers of every kind: each is refused by name, or harmless with the very same mask.

One of each kind, and under the marker ``slow`` over a thousand.

Tampers that make all hashes right again may be other, legitimate bundles. They are held to less:
refused, or a mask of the right shape and values; nothing outside the folder read, nothing executed.
"""

from __future__ import annotations

import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from foveate.runtime.arrays import as_input_type
from foveate.runtime.bundle.bundle import open_bundle
from foveate.runtime.bundle.describe import bundle_facts
from foveate.runtime.bundle.pack import pack, sign_bundle
from foveate.runtime.bundle.signing import new_pair, private_key
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.cli.info import facts_here
from foveate.runtime.errors import FoveateError, one_line
from foveate.runtime.io.images import image_paths, read_image
from foveate.train.runs.run import load_run
from tests.runtime.bundle import tampering
from tests.runtime.bundle.tampering import Kind, plain_kinds
from tests.runtime.bundle.tampering_packed import NAME, PACKED_KINDS
from tests.runtime.bundle.tampering_signature import signature_kinds
from tests.runtime.bundle.tampering_signed import BUNDLE_KINDS, RUN_KINDS

DEMO = Path(__file__).parents[3] / "benchmarks" / "demo_bundle"
EACH = pytest.mark.parametrize("each", [1, pytest.param(20, marks=pytest.mark.slow)])
"""Tampers of one kind."""
Mask = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]


def bundle_mask(folder: Path, image: Pixels, trusted: list[bytes] | None = None) -> Mask:
    with Cascade.load(folder, threads=1, trusted=trusted) as cascade:
        result = cascade(image, probabilities=True)
        assert result.mask.max() < len(cascade.spec.classes)
    return result.mask


def whole(folder: Path, trusted: list[bytes] | None = None) -> None:
    """Look at everything of a bundle, as ``foveate info`` does."""
    opened = open_bundle(folder, trusted)
    bundle_facts(opened)
    facts_here(opened)


def run_mask(folder: Path, image: Pixels) -> Mask:
    cascade, _ = load_run(folder)
    pixels = as_input_type(image, cascade.spec.input_type).astype(np.float32)
    with torch.inference_mode():
        return np.asarray(cascade(torch.from_numpy(pixels)[None]).mask[0].numpy())


@pytest.fixture(scope="module")
def image(data: Path, bundle: Path, trained: Path) -> Pixels:
    """An image whose mask, from bundle and run, has both foreground and background."""
    for path in image_paths(data / "images"):
        small = np.ascontiguousarray(cv2.resize(read_image(path), (56, 44)))
        masks = bundle_mask(bundle, small), run_mask(trained, small)
        if all(0.02 < mask.mean() < 0.98 for mask in masks):
            return small
    raise AssertionError("no image of the fixture has a mask worth tampering with")


@contextmanager
def opened_paths() -> Iterator[list[Path]]:
    """Collect every path that Python opens."""
    found: list[Path] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str):
            found.append(Path(arguments[0]))

    sys.addaudithook(hook)
    yield found
    watching = False


def attack(
    source: Path, place: Path, kinds: dict[str, Kind], each: int,
    mask_of: Callable[[Path], Mask], check: Callable[[Path], object],
) -> Counter[tuple[str, str]]:  # fmt: skip
    """Return how many tampers of each kind had which outcome; AssertionError on a bad one."""
    sound, counts = mask_of(source), Counter[tuple[str, str]]()
    for kind, tamper in kinds.items():
        for number in range(each):
            rng = np.random.default_rng([zlib.crc32(kind.encode()), number])
            folder = place / "copy"
            shutil.copytree(source, folder)
            touched = tamper(folder, rng)
            with opened_paths() as opened:
                outcome = _outcome(folder, touched, sound, mask_of, check, kind, number)
            outside = [path for path in opened if place in path.parents]
            assert all(folder in path.parents for path in outside), (kind, number, outside)
            counts[kind, outcome] += 1
            shutil.rmtree(folder)
    return counts


def _outcome(
    folder: Path, touched: set[str], sound: Mask, mask_of: Callable[[Path], Mask],
    check: Callable[[Path], object], kind: str, number: int,
) -> str:  # fmt: skip
    signed = kind.startswith("signed")
    try:
        mask = mask_of(folder)
        same = mask.shape == sound.shape and np.array_equal(mask, sound)
        assert same or signed, (kind, number, "another mask")
        assert mask.shape == sound.shape and mask.dtype == np.uint8, (kind, number, mask.shape)
        check(folder)
        if signed:
            return "same mask" if same else "another sound bundle"
        return "harmless"
    except FoveateError as error:
        text = str(error)
        assert any(name in text for name in touched), (kind, number, text)
        assert one_line(text).isprintable(), (kind, number)
        return "refused"


def hold(
    counts: Counter[tuple[str, str]],
    kinds: Collection[str],
    each: int,
    must_refuse: Collection[str],
) -> None:
    """Every kind ran; the plain ones and those named of the signed were refused every time."""
    assert sum(counts.values()) == len(kinds) * each
    for kind in kinds:
        if not kind.startswith("signed"):
            outcome = "harmless" if kind == "white space" else "refused"
            assert counts[kind, outcome] == each, kind
    for kind in must_refuse:
        assert counts[f"signed: {kind}", "refused"] == each, kind


@EACH
def test_tampered_bundles(
    bundle: Path, image: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {**plain_kinds(DEMO, "manifest.json"), **BUNDLE_KINDS}
    counts = attack(
        bundle, tmp_path, kinds, each, lambda folder: bundle_mask(folder, image), whole
    )  # fmt: skip
    show(counts)
    must_refuse = ("a file name", "external data", "not finite", "other dims", "opset")
    hold(counts, kinds, each, must_refuse)


@EACH
def test_tampered_packed_bundles(
    bundle: Path, image: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    pack(open_bundle(bundle), source / NAME)
    names = ("one_bit", "many_bits", "cut", "longer", "emptied")
    kinds = {name: getattr(tampering, name) for name in names} | PACKED_KINDS
    counts = attack(
        source, tmp_path, kinds, each, lambda folder: bundle_mask(folder / NAME, image),
        lambda folder: whole(folder / NAME),
    )  # fmt: skip
    show(counts)
    hold(counts, kinds, each, ())


@EACH
def test_tampered_signed_bundles(
    bundle: Path, image: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (secret, trusted), (another, _) = new_pair(None), new_pair(None)
    source = Path(shutil.copytree(bundle, tmp_path / "source"))
    other = Path(shutil.copytree(DEMO, tmp_path / "other"))
    for folder in (source, other):
        sign_bundle(open_bundle(folder), private_key(secret))
    kinds = signature_kinds(another, other)
    counts = attack(
        source, tmp_path, kinds, each, lambda folder: bundle_mask(folder, image, [trusted]),
        lambda folder: whole(folder, [trusted]),
    )  # fmt: skip
    show(counts)
    hold(counts, kinds, each, ())


@EACH
def test_tampered_runs(
    trained: Path, image: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    monkeypatch.chdir(tmp_path)
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    for path in (path for path in other.rglob("*") if path.is_file()):
        path.write_bytes(path.read_bytes()[::-1])
    kinds = {**plain_kinds(other, "run.json"), **RUN_KINDS}
    counts = attack(
        trained, tmp_path, kinds, each, lambda folder: run_mask(folder, image), load_run
    )
    show(counts)
    hold(counts, kinds, each, ("a pickle", "stages swapped"))
    assert not (tmp_path / "executed").exists()


def show(counts: Counter[tuple[str, str]]) -> None:
    """Print the outcomes, for ``pytest -s``."""
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:<34} {outcome:<22} {count}")
