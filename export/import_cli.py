"""``foveate import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foveate.export.cli import precision_names
from foveate.runtime.cli.options import parse_sizes
from foveate.runtime.cli.progress import Bar
from foveate.runtime.errors import BundleError, EngineError, SettingsError
from foveate.runtime.spec import GREY, Size


@click.command("import")
@click.argument("net", type=click.Path(path_type=Path))
@click.option("--stage2", type=click.Path(path_type=Path), metavar="NET2", help="Stage 2.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the bundle.")
@click.option(
    "--normalise",
    metavar="HOW",
    help="How images were normalised in the training: zscore (each image by its own mean and "
    "deviation), 0-1, 0-255, imagenet, or MEAN,STD of pixels from 0 to 1.",
)
@click.option(
    "--activation",
    type=click.Choice(["sigmoid", "softmax", "none"]),
    default=None,
    help="What has to follow the output; none: it gives probabilities. Found where the network "
    "ends with it.",
)
@click.option(
    "--channels",
    metavar="grey|rgb|N",
    default=GREY,
    show_default=True,
    help="Channels of the images that the network was trained on; grey is repeated where a network "
    "takes three.",
)
@click.option("--classes", metavar="A,B", default="", help="Names of the foreground classes.")
@click.option(
    "--output", metavar="NAME[,NAME2]", default="", help="Output to take, where several could be."
)
@click.option(
    "--size",
    callback=parse_sizes,
    metavar="HxW[,HxW]",
    default="",
    help="Size that networks of any size see; with two, that of each stage.",
)
@click.option(
    "--pad-multiple",
    type=click.IntRange(0, 128),
    default=0,
    metavar="N",
    help="One network of any size sees the image as large as it is, padded to a multiple of N.",
)
@click.option("--hint", is_flag=True, help="Stage 2's last channel is stage 1's probability.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Data set that box and thresholds are chosen and Dice is measured on: its val.txt, else "
    "its train.txt, else all but its test.txt.",
)
@click.option(
    "--precision",
    default="fp32,fp16",
    show_default=True,
    help="Graphs to write: fp32, which is always written, fp16, int8.",
)
@click.option("--force", is_flag=True, help="Replace the bundle in --out.")
@click.option("--licence", default="", help="Licence of the network, for the manifest.")
def import_(
    net: Path, stage2: Path | None, out: Path, data: Path | None, precision: str, **options: Any
) -> None:
    """Make a bundle of a network that was trained elsewhere.

    NET is an ONNX file, or a .pt2 file of torch.export.save. Its own nodes go into the cascade's
    graph; resizing, box, paste and decision around them are foveate's, so Dice may differ from that
    of other resizing: --data measures it. Images are read as grey, which is repeated where a
    network has three channels, unless --channels says rgb. What the network takes and gives is
    found and printed. With --stage2 NET sees the whole image and NET2 the region that it finds.

    \b
    Example:
      foveate import unet.onnx --normalise 0-1 --out unet.bundle --data scans
      foveate import unet.onnx --normalise imagenet --channels rgb --out unet.bundle
      foveate import coarse.onnx --stage2 fine.onnx --hint --normalise zscore --out two.bundle
    """
    from foveate.runtime.bundle.bundle import MANIFEST

    names = precision_names(precision)
    if (out / MANIFEST).exists() and not options["force"]:
        raise BundleError(f"{out} is a bundle already; --force replaces it")
    if not options["normalise"]:
        raise SettingsError(
            "say how images were normalised in the network's training: --normalise zscore, 0-1, "
            "0-255, imagenet, or MEAN,STD of pixels from 0 to 1"
        )
    try:
        from foveate.export.importer import import_network
        from foveate.export.importing.description import ImportSettings
    except ImportError as error:
        raise EngineError(f"import needs {error.name}: pip install 'foveate[train]'") from None
    bar = Bar()
    settings = ImportSettings(
        normalise=options["normalise"],
        channels=options["channels"],
        activation=options["activation"] or "",
        classes=_words(options["classes"]),
        outputs=_words(options["output"]),
        sizes=tuple(Size(*size) for size in options["size"]),
        hint=bool(options["hint"]),
        pad_multiple=int(options["pad_multiple"]),
        licence=options["licence"],
    )
    parity = import_network(
        net, stage2, out=out, settings=settings, precisions=names, data=data, log=bar.log,
        progress=bar.update,
    )  # fmt: skip
    for name in names:
        row = parity[name]
        bar.log(
            f"{name}: disagreement {row['disagreement']:.6f} (bound {row['disagreement_bound']}), "
            f"{row['images']} images. {row['how']}"
        )
    bar.log(f"Bundle in {out}. Next: foveate segment {out} IMAGES --out masks")


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
