"""OpenVINO compiled for one size against any size: times of the same images by turns, and masks.

python -m foveate.benchmarks.scripts.fixed_sizes BUNDLE ROUNDS THREADS IMAGE...
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from foveate.runtime.agreement import Disagreement, compare_masks
from foveate.runtime.arrays import Pixels
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import FoveateError
from foveate.runtime.io.images import read_image
from foveate.runtime.result import Result


def compare(bundle: Path, precision: str, images: list[Pixels], rounds: int, threads: int) -> str:
    """Return times, ratio and disagreement of both forms, in words."""
    shape = images[0].shape
    with (
        Cascade.load(bundle, "openvino", precision, threads) as any_size,
        Cascade.load(bundle, "openvino", precision, threads) as fixed,
    ):
        any_size.warm_up([shape], fixed=False)
        started = time.perf_counter()
        fixed.warm_up([shape])
        compiling = time.perf_counter() - started
        times, total = np.zeros((rounds, 2)), Disagreement()
        for number in range(rounds):
            index, found = number % len(images), dict[int, Result]()
            for way in (0, 1) if number % 2 else (1, 0):
                started = time.perf_counter()
                found[way] = (any_size, fixed)[way](images[index])
                times[number, way] = 1000 * (time.perf_counter() - started)
            if number < len(images):
                masks = found[1].mask, found[0].mask
                total.add(compare_masks(str(number), *masks, False, None))
    low, middle, high = np.percentile(times[:, 1] / times[:, 0], [10, 50, 90])
    any_ms, fixed_ms = np.median(times, axis=0)
    return (
        f"{precision}: any size {any_ms:.1f} ms, fixed {fixed_ms:.1f} ms, ratio {middle:.3f} "
        f"({low:.3f} to {high:.3f}), disagreement {total.value:.6f}, warm-up {compiling:.1f} s"
    )


def main(arguments: list[str]) -> int:
    """Print a line a precision."""
    if len(arguments) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    bundle, (rounds, threads) = Path(arguments[0]), map(int, arguments[1:3])
    read = [read_image(path) for path in arguments[3:]]
    images = [image for image in read if image.shape == read[0].shape]
    for precision in ("fp32", "bf16", "int8"):
        try:
            print(compare(bundle, precision, images, rounds, threads), flush=True)
        except FoveateError as error:
            print(f"{precision}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
