"""Mistakes in a program that embeds the runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import EngineError, FoveateError, ImageError, SettingsError
from foveate.runtime.result import Result
from tests.bad.case import fits

IMAGE = np.zeros((80, 100), np.uint8)
FORKED = """
import os, sys
import numpy as np
from foveate.runtime import Cascade
from foveate.runtime.errors import EngineError
cascade = Cascade.load(sys.argv[1], "onnxruntime", threads=1)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    cascade(np.zeros((80, 100), np.uint8))
except EngineError as error:
    print(error, flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Mistake:
    """``make`` does something wrong with a bundle; … in ``said`` stands for any text."""

    given: str
    said: str
    error: type[FoveateError]
    make: Callable[[Path], object]

    def matches(self, text: str) -> bool:
        return fits(self.said, text)


class OnGpu:
    """An array on a GPU that is read-only."""

    __cuda_array_interface__ = {
        "shape": IMAGE.shape, "typestr": "|u1", "data": (4096, True), "version": 3,
    }  # fmt: skip


class WithGradient:
    """A tensor of PyTorch on a GPU that requires grad."""

    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]:
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")


class OnAnotherGpu:
    """An array of a library whose GPU is not CUDA's, as DLPack tells it."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0

    def __dlpack__(self, **options: object) -> object:
        raise AssertionError("is not asked for what cannot be read")


def used(use: Callable[[Cascade], object]) -> Callable[[Path], object]:
    def make(bundle: Path) -> None:
        with Cascade.load(bundle, "onnxruntime", threads=1) as cascade:
            use(cascade)

    return make


def closed(cascade: Cascade) -> None:
    cascade.close()
    cascade.submit(IMAGE)


def closed_by_a_callback(bundle: Path) -> None:
    told: list[BaseException] = []

    def close(future: Future[Result]) -> None:
        try:
            cascade.close()
        except EngineError as error:
            told.append(error)

    with Cascade.load(bundle, "onnxruntime", threads=1) as cascade:
        future = cascade.submit(np.zeros((3000, 3000), np.uint8))
        future.add_done_callback(close)
        assert cascade.submit(IMAGE).result().mask.shape == IMAGE.shape  # nothing was closed
    raise told[0]


def trusting(keys: Any) -> Callable[[Path], object]:
    return lambda bundle: Cascade.load(bundle, "onnxruntime", trusted=keys)


def in_a_fork(bundle: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(bundle)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    raise EngineError(told.stdout)


CALLS = [
    Mistake("an image in colours", "the image is (80, 100, 3); expected a (H, W) array with at …",
            ImageError, used(lambda cascade: cascade(np.zeros((80, 100, 3), np.uint8)))),
    Mistake("an image of another type", "the image is float32; expected uint8 or uint16. Convert …",
            ImageError, used(lambda cascade: cascade(IMAGE.astype(np.float32)))),
    Mistake("something that is not an image, submitted",
            "the image is str; expected a (H, W) array with at …",
            ImageError, used(lambda cascade: cascade.submit("scan.png").result())),
    Mistake("an array on a GPU that cannot be reached",
            "on a GPU that has no __cuda_array_interface__; expected one that has, or a copy on …",
            ImageError, used(lambda cascade: cascade(OnAnotherGpu()))),
    Mistake("a tensor on a GPU that requires grad",
            "does not give its memory on the GPU (…); expected an array without a gradient: …",
            ImageError, used(lambda cascade: cascade(WithGradient()))),
    Mistake("an array on the GPU, on a CPU",
            "is in a GPU's memory, and onnxruntime fp32 works on the host's: copy it there, or …",
            ImageError, used(lambda cascade: cascade(OnGpu()))),
    Mistake("out that is read-only on the GPU",
            "out is a read-only array on the GPU; expected one that can be written to",
            ImageError, used(lambda cascade: cascade(IMAGE, out=OnGpu()))),
    Mistake("out of another shape", "out is (100, 80) uint8; expected (80, 100) uint8, like the …",
            ImageError, used(lambda cascade: cascade(IMAGE, out=np.zeros((100, 80), np.uint8)))),
    Mistake("an image with hidden pixels",
            "the array is a MaskedArray, whose mask would be ignored; expected a plain array: …",
            ImageError, used(lambda cascade: cascade(np.ma.masked_array(IMAGE, IMAGE == 0)))),
    Mistake("out whose pixels share their memory",
            "out has strides (0, 1), so that pixels share their memory; expected an array with …",
            ImageError, used(lambda cascade: cascade(IMAGE, out=as_strided(
                np.zeros(100, np.uint8), (80, 100), (0, 1))))),
    Mistake("a shape to warm up that is not one", "the shape (80,) to warm up; expected a list …",
            SettingsError, used(lambda cascade: cascade.warm_up([(80,)]))),
    Mistake("close in a callback", "close was called by the callback of a future, whose thread …",
            EngineError, closed_by_a_callback),
    Mistake("submit after close", "this engine has been closed; load the bundle again",
            EngineError, used(closed)),
    Mistake("a cascade in a fork", "a fork of it: load the bundle after the fork, or start …",
            EngineError, in_a_fork),
    Mistake("a negative number of threads", "threads is -1; expected 0 to 1024, 0 for …",
            SettingsError, lambda bundle: Cascade.load(bundle, "onnxruntime", threads=-1)),
    Mistake("the name of a key instead of the key", "trusted has a str; expected a list of …",
            SettingsError, trusting(["maker.pub.pem"])),
    Mistake("one key that is not in a list", "trusted is a bytes; expected a list of public …",
            SettingsError, trusting(b"-----BEGIN PUBLIC KEY-----")),
    Mistake("a GPU with a negative number", "gpu is -1; expected the number of a GPU, from 0",
            SettingsError, lambda bundle: Cascade.load(bundle, "onnxruntime", gpu=-1)),
]  # fmt: skip
