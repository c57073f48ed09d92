"""The C++ programs: built with the machine's compiler, and held to the command line's masks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from foveate.runtime.agreement import dice
from foveate.runtime.arrays import Pixels
from foveate.runtime.bundle.bundle import graph_name
from tests.conftest import DEMO, run
from tests.drawing import ellipse, in_channels
from tests.examples.scripts import EMBED
from tests.threshold_bundle import write_threshold_bundle

ENGINES = ("openvino", "onnxruntime")
ODD = [(1, 1), (1, 2), (2, 1), (1, 31), (31, 1), (31, 2000), (2000, 31), (997, 13), (101, 103)]
ODD += [(2, 3), (63, 65), (64, 64), (127, 509), (255, 257), (3, 500), (17, 19)]
ORT_INCLUDE = Path(os.environ.get("ORT_INCLUDE", "/usr/include/onnxruntime"))


def make(target: str, build: Path) -> Path:
    """Return the program that the folder's Makefile makes; the test is skipped where it cannot."""
    for tool in ("make", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    settings = [f"PYTHON={sys.executable}", f"BUILD={build}", f"ORT_INCLUDE={ORT_INCLUDE}"]
    words = ["make", "-C", str(EMBED), target, *settings, "CXXFLAGS=-O1 -Wall -Wextra -Werror"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return build / target


@pytest.fixture(scope="module", params=ENGINES)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    engine = str(request.param)
    package = pytest.importorskip(engine)
    if engine == "onnxruntime":
        if not (ORT_INCLUDE / "onnxruntime_c_api.h").is_file():
            pytest.skip(
                f"no onnxruntime_c_api.h in {ORT_INCLUDE}; it is in Debian's libonnxruntime-dev, "
                "or set ORT_INCLUDE to the include folder of ONNX Runtime's release"
            )
        if not list((Path(package.__file__).parent / "capi").glob("libonnxruntime.so.*")):
            pytest.skip(f"onnxruntime {package.__version__} has no library apart from its module")
    return make(engine, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pixels]:
    """Twenty images of odd sizes, alternately 8 and 16 bit, some of noise; PNG and PGM of each."""
    rng = np.random.default_rng(9)
    sizes = ODD + [tuple(map(int, rng.integers(1, 300, 2))) for _ in range(20 - len(ODD))]
    picture = cv2.imread(str(EMBED.parent / "usgra" / "picture.jpg"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    scan = np.ascontiguousarray(picture[:, : picture.shape[1] // 4])  # the first of its columns
    folder, found = tmp_path_factory.mktemp("images"), {}
    for number, (height, width) in enumerate(sizes):
        bits = 8 if number % 2 else 16
        pixels = cv2.resize(scan, (width, height), interpolation=cv2.INTER_AREA)
        if bits == 16:
            pixels = 256 * pixels.astype(np.uint16) + rng.integers(0, 256, pixels.shape, np.uint16)
        if number % 5 == 4:
            pixels = rng.integers(0, 1 << bits, (height, width)).astype(pixels.dtype)
        name = str(folder / f"{number:02}")
        found[name] = pixels
        assert cv2.imwrite(f"{name}.png", pixels)
        write_pgm(Path(f"{name}.pgm"), pixels)
    return found


def write_pgm(path: Path, pixels: Pixels) -> None:
    height, width = pixels.shape
    white = np.iinfo(pixels.dtype).max
    content = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(b"P5 # grey\n%d %d\n%d\n" % (width, height, white) + content)


def called(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(item) for item in (program, *arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source, step", [("demo", 1), ("thresholds", 1), ("usgra", 4)])
def test_every_mask_is_the_command_lines(
    program: Path,
    images: dict[str, Pixels],
    source: str,
    step: int,
    thresholds: Path,
    tmp_path: Path,
) -> None:
    """The demo takes 16 bit, the thresholds 8; usgra has two classes and the background."""
    bundle = {"demo": DEMO, "thresholds": thresholds, "usgra": EMBED.parent / "usgra"}[source]
    names = list(images)[::step]
    done = called(program, bundle, "fp32", 1, tmp_path / "own", *(f"{name}.pgm" for name in names))
    assert done.returncode == 0, done.stderr
    options = ["--engine", program.name, "--precision", "fp32", "--threads", "1"]
    files = [f"{name}.png" for name in names]
    result = run("segment", bundle, *files, "--out", tmp_path / "cli", *options)
    assert result.exception is None, result.output
    mixed = 0
    for name in names:
        stem = Path(name).name
        own = cv2.imread(str(tmp_path / "own" / f"{stem}.mask.pgm"), cv2.IMREAD_UNCHANGED)
        assert own is not None and own.shape == images[name].shape
        with Image.open(tmp_path / "cli" / f"{stem}.png") as expected:
            np.testing.assert_array_equal(own, np.asarray(expected), err_msg=f"{stem} {own.shape}")
        mixed += 0 < np.count_nonzero(own) < own.size
    assert mixed >= len(names) // 5  # these have an outline that could differ


@pytest.mark.parametrize("input_type", ["uint8", "uint16"])
def test_colours_are_the_command_lines(program: Path, input_type: str, tmp_path: Path) -> None:
    bundle = write_threshold_bundle(tmp_path / "b", input_type=input_type, images="rgb")
    shape = in_channels(ellipse(63, 90), "rgb", 2)
    for name, dtype in (("a8", "uint8"), ("b16", "uint16")):
        pixels = shape.astype(dtype) * np.iinfo(dtype).max
        for suffix in ("png", "ppm"):  # OpenCV takes blue first
            assert cv2.imwrite(str(tmp_path / f"{name}.{suffix}"), pixels[..., ::-1])
    write_pgm(tmp_path / "grey.pgm", pixels[..., 0])
    files = [tmp_path / name for name in ("a8.ppm", "b16.ppm", "grey.pgm")]
    done = called(program, bundle, "fp32", 1, tmp_path / "own", *files)
    assert done.returncode == 1 and "has 1 channel(s); the bundle takes 3" in done.stderr
    options = ["--engine", program.name, "--precision", "fp32", "--threads", "1"]
    pngs = [path.with_suffix(".png") for path in files[:2]]
    assert run("segment", bundle, *pngs, "--out", tmp_path / "cli", *options).exception is None
    for path in pngs:
        own = cv2.imread(str(tmp_path / "own" / f"{path.stem}.mask.pgm"), cv2.IMREAD_UNCHANGED)
        with Image.open(tmp_path / "cli" / path.name) as expected:
            np.testing.assert_array_equal(own, np.asarray(expected))
        assert own is not None and dice(own, ellipse(63, 90), 1) > 0.97


def test_a_mistake_is_one_line_and_exit_code_2(program: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.bundle"
    broken.mkdir()
    (broken / graph_name("fp32")).write_bytes((DEMO / graph_name("fp32")).read_bytes()[:5000])
    cases = {
        "no such graph": ("missing.bundle", "fp32", 1),
        "expected fp32 or int8": (DEMO, "fp16", 1),
        "expected 1 to 1024": (DEMO, "fp32", "many"),
        program.name: (broken, "fp32", 1),
    }
    for words, arguments in cases.items():
        done = called(program, *arguments, tmp_path / "out", "scan.pgm")
        assert done.returncode == 2 and done.stdout == ""
        assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert called(program, DEMO).returncode == 2


def test_an_image_that_fails_is_named_and_the_others_are_written(
    program: Path, thresholds: Path, tmp_path: Path
) -> None:
    pixels = np.full((5, 7), 200, np.uint8)
    for name in ("first", "last"):
        write_pgm(tmp_path / f"{name}.pgm", pixels)
    sound = (tmp_path / "first.pgm").read_bytes()
    cv2.imwrite(str(tmp_path / "picture.png"), pixels)
    bad = {
        "missing.pgm": (b"", "cannot be read"),
        "picture.png": ((tmp_path / "picture.png").read_bytes(), "is not a binary PGM"),
        "text.pgm": (b"P2\n1 1\n255\n7\n", "is not a binary PGM"),
        "colour.ppm": (b"P6\n1 1\n255\nabc", "has 3 channel(s); the bundle takes 1"),
        "cut.pgm": (sound[:-1], "has 34 bytes of pixels; its header wants 35"),
        "long.pgm": (sound + b"x", "has 36 bytes of pixels"),
        "twelve.pgm": (b"P5\n1 1\n4095\nab", "has 4095 as its white; expected 255 or 65535"),
        "empty.pgm": (b"P5\n0 1\n255\n", "has no sound header"),
        "huge.pgm": (b"P5\n9999999 1\n255\n", "a million pixels or more"),
        "header.pgm": (b"P5\n12", "has no sound header"),
    }
    for name, (content, _) in bad.items():
        if content:
            (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in ("first.pgm", *bad, "last.pgm")]
    done = called(program, thresholds, "fp32", 1, tmp_path / "out", *files)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(bad)
    for line, (name, (_, words)) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"failed: {tmp_path / name}: ") and words in line
    for name in ("first", "last"):
        mask = cv2.imread(str(tmp_path / "out" / f"{name}.mask.pgm"), cv2.IMREAD_UNCHANGED)
        assert mask is not None and (mask == 1).all()
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_mask_is_not_written_over_another(
    program: Path, thresholds: Path, tmp_path: Path
) -> None:
    for folder, value in (("one", 200), ("two", 10)):
        (tmp_path / folder).mkdir()
        write_pgm(tmp_path / folder / "scan.pgm", np.full((5, 7), value, np.uint8))
    files = [tmp_path / folder / "scan.pgm" for folder in ("one", "two")]
    done = called(program, thresholds, "fp32", 1, tmp_path / "out", *files)
    assert done.returncode == 1 and f"{files[1]}: its mask would overwrite" in done.stderr
    mask = cv2.imread(str(tmp_path / "out" / "scan.mask.pgm"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and (mask == 1).all()


@pytest.mark.parametrize("flavour", ["", "-DTRT_MAJOR_RTX=1"])
def test_the_compiler_can_read_the_tensorrt_program(flavour: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
    standin = Path(__file__).parent / "standin_tensorrt"
    words = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    words += [*filter(None, [flavour]), "-isystem", str(standin), str(EMBED / "tensorrt.cpp")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
