"""One image of 20,000 x 20,000 pixels: the memory of every stage, and of the whole command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.io.images import read_image
from foveate.runtime.io.outputs import OutputSettings, write_outputs
from tests.soak.folders import command
from tests.soak.memory import watch
from tests.soak.verdict import conclude

BUNDLE = Path("examples/bsdata")
SIDE = 20_000
LIMIT_BYTES = 8 << 30
"""What one image may take: eight gibibytes."""


def write_large(path: Path, side: int) -> None:
    """Write a smooth 8-bit PNG of side x side pixels; small on disk."""
    down, right = np.ogrid[:side, :side]
    image = (40 + (down // 64 + right // 64) % 8).astype(np.uint8)
    cv2.ellipse(
        image, (9 * side // 20, 11 * side // 20), (side // 7, side // 10), 0, 0, 360, 210, -1
    )
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path}: cannot be written")


def _peak_bytes() -> int:
    """Return the largest resident size of this process since the last call (Linux)."""
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def stages(bundle: Path, path: Path, out: Path) -> dict[str, Any]:
    """Return the peak of every stage in bytes, and its seconds, one after the other."""
    found: dict[str, Any] = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        _peak_bytes()
        started = time.monotonic()
        result = work()
        found[name] = {"peak_bytes": _peak_bytes(), "seconds": round(time.monotonic() - started, 2)}
        return result

    with Cascade.load(bundle, threads=0) as cascade:
        found["loaded"] = {"peak_bytes": _peak_bytes()}
        image = measured("decode", lambda: read_image(path))
        result = measured("graph", lambda: cascade(image))
        settings, spec = OutputSettings(), cascade.spec
        measured("encode", lambda: write_outputs(settings, out, "large", image, result, spec))
        found["pixels"] = int(image.size)
    return found


def measured(bundle: Path, side: int, folder: Path) -> dict[str, Any]:
    """Segment a large image and return what it took."""
    path, out = folder / f"{side}.png", folder / "out"
    write_large(path, side)
    started = time.monotonic()
    samples, code, said = watch(command(bundle, path, out), out)
    seconds = time.monotonic() - started
    peak = max(sample.resident for sample in samples)
    alone = [sys.executable, "-m", __spec__.name, "--stages", str(path), "--bundle", str(bundle)]
    done = subprocess.run(alone, check=True, capture_output=True, text=True)
    mask = cv2.imread(str(out / f"{side}.png"), cv2.IMREAD_GRAYSCALE)
    return {
        "side": side,
        "bytes on disk": path.stat().st_size,
        "exit code": code,
        "seconds": round(seconds, 1),
        "peak resident, MB": round(peak / 1e6),
        "bytes a pixel": round(peak / side**2, 2),
        "mask": [] if mask is None else list(mask.shape),
        "by stage": done.stdout.strip().splitlines(),
        "said": said.replace(f"{folder}/", "").strip().splitlines(),
    }


def _print_stages(bundle: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="foveate-soak-") as folder:
        found = stages(bundle, path, Path(folder))
    pixels = found.pop("pixels")
    loaded = found.pop("loaded")["peak_bytes"]
    for name, value in found.items():
        more = (value["peak_bytes"] - loaded) / pixels
        click.echo(f"{name}: peak {more:.2f} bytes a pixel over {loaded / 1e6:.0f} MB, "
                   f"{value['seconds']} s")  # fmt: skip


@click.command()
@click.option("--side", type=click.IntRange(16), default=SIDE, show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), default=BUNDLE, show_default=True)
@click.option("--stages", "path", type=click.Path(path_type=Path), help="Measure the stages alone.")
@click.option("--out", type=click.Path(path_type=Path), help="File of the result, JSON.")
def main(side: int, bundle: Path, path: Path | None, out: Path | None) -> None:
    """Segment one very large image and say what memory it takes."""
    if path is not None:
        _print_stages(bundle, path)
        return
    with tempfile.TemporaryDirectory(prefix="foveate-soak-") as folder:
        found = measured(bundle, side, Path(folder))
    broken = []
    if found["exit code"] or found["mask"] != [side, side]:
        broken.append(f"exit code {found['exit code']}, mask {found['mask']}")
    if found["peak resident, MB"] * 1e6 > LIMIT_BYTES:
        broken.append(f"{found['peak resident, MB']} MB; the limit is {LIMIT_BYTES / 1e6:.0f} MB")
    sys.exit(conclude("large", found, broken, out))


if __name__ == "__main__":
    main()
