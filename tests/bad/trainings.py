"""Data sets, settings and runs that stop ``train``, ``export`` and ``evaluate``: exit code 2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from foveate.export.int8 import mixed_precision
from foveate.runtime import agreement as overlap
from foveate.runtime.bundle.bundle import file_sha256
from foveate.runtime.json_files import canonical_sha256
from tests.bad.case import Case, Place

TINY = ("image_height=64", "image_width=64", "width=4", "depth=2", "num_workers=0", "num_epochs=1")
INT8 = ("--precision", "int8")


def options(*assignments: str) -> list[object]:
    return [item for value in (*TINY, *assignments) for item in ("--set", value)]


def data(given: str, said: str, spoil: Callable[[Path], object], *assignments: str) -> Case:
    """Return the case of a copy of a data set that ``spoil`` changes; nothing is trained on it."""

    def make(place: Place) -> list[object]:
        folder = place.copy(place.data)
        for name in ("train.txt", "test.txt"):
            (folder / name).unlink()
        spoil(folder)
        return ["train", folder, "--out", place.folder / "run", *options(*assignments)]

    return Case(given, said, 2, make)


def setting(given: str, said: str, *assignments: str) -> Case:
    def make(place: Place) -> list[object]:
        return ["train", place.data, "--out", place.folder / "run", *options(*assignments)]

    return Case(given, said, 2, make)


def stored(given: str, said: str, spoil: Callable[[Path], object], *command: object) -> Case:
    """Return the case of ``export`` from a copy of a run that ``spoil`` changes."""

    def make(place: Place) -> list[object]:
        folder = place.copy(place.run)
        spoil(folder)
        return ["export", folder, "--out", place.folder / "b", *command]

    return Case(given, said, 2, make)


def no_cache(place: Place) -> list[object]:
    """Return a training whose images fit neither into memory nor into the cache's folder."""
    place.patch.setenv("FOVEATE_CACHE", str(place.image()))
    return ["train", place.data, "--out", place.folder / "run", *options("cache_gb=1e-9")]


def other_masks(place: Place) -> list[object]:
    """Return the export of int8 where nothing but the same masks will do."""
    place.patch.setitem(overlap.BOUNDS, "int8", (1e-9, 1e-9))
    place.patch.setattr(mixed_precision, "MAX_FLOAT_BLOCKS", 1)
    return ["export", place.run, "--out", place.folder / "b", *INT8]


def first(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def masks(change: Callable[[int, np.ndarray[Any, Any]], object]) -> Callable[[Path], object]:
    """Return a spoiler that puts what ``change`` gives in the place of every mask."""

    def spoil(folder: Path) -> None:
        for number, path in enumerate(sorted((folder / "masks").iterdir())):
            values = np.asarray(change(number, np.asarray(Image.open(path).convert("L"))))
            Image.fromarray(values.astype(np.uint8)).save(path)

    return spoil


def numbered(number: int, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return squares apart from each other, numbered from 1."""
    rows, columns = np.indices(mask.shape)
    labels = rows // 40 * 4 + columns // 40 + 1
    apart = (rows % 40 < 20) & (columns % 40 < 20) & (labels <= 16 - number % 3)
    return np.where(apart, labels, 0)


def written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def emptied(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()


def sign(folder: Path, change: Callable[[dict[str, Any]], object] = lambda record: None) -> None:
    """Change a run's record and make all hashes right again."""
    record = json.loads((folder / "run.json").read_text())
    for name, stage in record["stages"].items():
        if (folder / f"{name}.safetensors").is_file():
            stage["sha256"] = file_sha256(folder / f"{name}.safetensors")
    change(record)
    record.pop("run_sha256", None)
    record["run_sha256"] = canonical_sha256(record)
    (folder / "run.json").write_text(json.dumps(record))


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        values = load_file(folder / "stage1.safetensors")
        change(values)
        save_file(values, folder / "stage1.safetensors")
        sign(folder)

    return spoil


def swapped(folder: Path) -> None:
    one, two = folder / "stage1.safetensors", folder / "stage2.safetensors"
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)


def pickled(folder: Path) -> None:
    torch.save({"head.bias": torch.zeros(1)}, folder / "stage1.safetensors")
    sign(folder)


def half(folder: Path) -> None:
    sign(folder, lambda record: record["stages"].pop("stage2"))


def more_classes(place: Place) -> list[object]:
    folder = place.copy(place.data)
    masks(lambda number, mask: np.where(mask > 0, 1 + number % 3, 0))(folder)
    return ["evaluate", place.bundle, folder]


TRAININGS = [
    Case("no data set", "is not a folder; expected DATA/images and DATA/masks", 2,
         lambda place: ["train", place.folder / "none", "--out", place.folder / "run"]),
    data("an empty data set", "has no images; expected at least two with masks", emptied),
    data("an image without mask", "1 of 12 stems have no mask: …",
         lambda folder: first(folder / "masks").unlink()),
    data("a mask of another size", "is 9x7, its image is 160x160; expected the same size",
         lambda folder: Image.new("L", (9, 7)).save(first(folder / "masks"))),
    data("an image that cannot be read", "is not an image in a supported format; …",
         lambda folder: first(folder / "images").write_text("hello")),
    data("images of float values, and no window",
         "has float32 values from 0.5 to 0.5; … (in training --set window=0.5,1.5)",
         lambda folder: Image.new("F", (160, 160), 0.5).save(first(folder / "images"), "TIFF")),
    data("a mask in colours",
         'has colours; …. If colours are classes, name them: mask_colours="class1=#090000"',
         lambda folder: Image.new("RGB", (160, 160), (9, 0, 0)).save(first(folder / "masks"))),
    data("a colour without a name",
         "has colours that mask_colours does not name: #090000 (25600 pixels). Name them, …",
         lambda folder: Image.new("RGB", (160, 160), (9, 0, 0)).save(first(folder / "masks")),
         "mask_colours=lesion=#ffffff"),
    data("a value without a name",
         "masks: the mask of … has … pixels of 255, which mask_values=lesion=1 does not name",
         lambda folder: None, "mask_values=lesion=1"),
    data("every mask empty", "masks: every mask is empty; expected some foreground",
         masks(lambda number, mask: mask * 0)),
    data("one mask that is not empty", "1 group(s) with any foreground; expected at least two, …",
         masks(lambda number, mask: mask * (number == 3))),
    data("every mask full", "masks: no mask has background (0); values found: [255]",
         masks(lambda number, mask: mask | 255)),
    data("other mask values, or 0/1 next to 0/255",
         "masks hold the values [0, 1, 255]; expected {0, 255}, {0, 1} or {0 .. K} over the whole "
         "set. The setting ignore_value=255 leaves pixels of 255 out as not labelled, and "
         'mask_values="class1=1,class2=255" names values as classes',
         masks(lambda number, mask: np.minimum(mask, 1 if number % 2 else 255))),
    data("masks with soft edges, or of JPEG",
         "they look like soft edges or JPEG noise: mask_threshold=128 takes values from 128 on …",
         masks(lambda number, mask: np.abs(mask.astype(int) - np.arange(160) % 6))),
    data("numbers of objects instead of classes",
         "masks hold 17 values; most of them are one connected piece each, as numbers of objects "
         "are: mask_instances=true takes every value over 0 for foreground. …",
         masks(numbered)),
    data("two images of one stem", "images: more than one file for the stem …",
         lambda folder: shutil.copy(
             first(folder / "images"), first(folder / "images").with_suffix(".bmp"))),
    data("file names that are not UTF-8", "images: file names are not UTF-8: '\\udcfc'. Rename …",
         lambda folder: first(folder / "images").rename(
             folder / "images" / os.fsdecode(b"\xfc.png"))),
    data("groups.tsv without tabs", "groups.tsv, line 1: expected stem<TAB>group, got 'a b'",
         written("groups.tsv", b"a b\n")),
    data("groups.tsv with stems that are not there", "groups.tsv: 1 stem(s) have no image: nobody",
         written("groups.tsv", b"nobody\tg\n")),
    data("a stem in two groups", "groups.tsv, line 2: a is in g and in h",
         written("groups.tsv", b"a\tg\na\th\n")),
    data("train.txt with a stem that is not there",
         "1 of 1 stems have no image: nobody. Add them, or list only the others …",
         written("train.txt", b"nobody\n")),
    data("an empty train.txt", "train.txt: the list of stems is empty", written("train.txt", b"")),
    data("a stem twice in train.txt", "train.txt: listed more than once: a",
         written("train.txt", b"a\na\n")),
    data("train.txt that is no text", "train.txt: is not UTF-8 text (byte 1)",
         written("train.txt", b"a\xff\n")),
    data("every image in test.txt", "every image is in …test.txt; name those to train on in …",
         lambda folder: (folder / "test.txt").write_text(
             "\n".join(path.stem for path in (folder / "images").iterdir()))),
    data("one image, or one group", "expected at least two groups, one to train on and one …",
         lambda folder: (folder / "train.txt").write_text(first(folder / "images").stem)),
    setting("a window of one number", 'window is "400"; expected LOW,HIGH: two numbers, …',
            "window=400"),
    setting("an unknown setting", 'there is no setting "widht"; the nearest is "width"', "widht=8"),
    setting("a value of another type", "width is 'wide'; expected int", "width=wide"),
    setting("a value out of range", "learning_rate is nan; expected 1e-07 to 1",
            "learning_rate=nan"),
    setting("a size that halvings do not divide",
            "image_height is 66; expected a multiple of 2**depth = 4, for example 64 or 68",
            "image_height=66"),
    setting("a batch of one image that ends as one pixel",
            "batch_size is 1 and an input is 8x8: BatchNorm would see one value. …",
            "batch_size=1", "image_height=8", "image_width=8", "depth=3"),
    setting("a device that does not exist", 'device is "tpu"; expected auto, cpu, cuda or cuda:N',
            "device=tpu"),
    setting("an augmentation that does not exist",
            'there is no augmentation "medicine"; the nearest is "medical". Expected one of …',
            "augmentation=medicine"),
    setting("channels that are not known", 'channels is "bgr"; expected grey, rgb, or 2 to 32',
            "channels=bgr"),
    setting("images of other channels than set", "has 1 channel; expected 2. …", "channels=2"),
    Case("decoded images that find no folder",
         "decoded images cannot be kept there: …. FOVEATE_CACHE=FOLDER names another disk", 2,
         no_cache),
    setting("two ways to read masks", "mask_threshold and mask_values do not go together; …",
            "mask_threshold=9", "mask_values=lesion=255"),
    setting("class_names of another number",
            "class_names has 2 name(s); the masks have 1 class(es)",
            "class_names=a,b"),
    setting("a class called background",
            'class_names: two classes are called "background"; expected a name of its own for each',
            "class_names=background"),
    setting("a network that does not exist",
            'there is no network "resnet19"; the nearest is "resnet18". Expected one of unet, …',
            "network=resnet19"),
    setting("an encoder of a depth it has not",
            "network resnet18 with depth 2; expected depth 3 to 5", "network=resnet18"),
    setting("weights of an encoder for a network without one",
            "encoder_weights go with a network that has an encoder; got unet. Expected …",
            "encoder_weights=w.pth"),
    Case("a network of stage 2 without a stage 2",
         "stage2_network, stage2_width and stage2_depth go with a cascade (--stages both); …", 2,
         lambda place: ["train", place.data, "--out", place.folder / "run",
                        "--stages", "single", *options("stage2_width=8")]),
    setting("a loss that does not exist",
            'there is no loss "focal_dice"; the nearest is "focal". Expected one of …',
            "loss=focal_dice"),
    setting("class weights of another number",
            'class_weights is "1,2,3"; expected auto, or 2 numbers with commas between, …',
            "class_weights=1,2,3"),
    Case("--out holds a run", "already holds a run; add --resume, or choose another --out", 2,
         lambda place: ["train", place.data, "--out", place.run, *options()]),
    stored("no run there", "run.json: cannot be read: No such file or directory; expected a run",
           shutil.rmtree),
    stored("stage 2 not trained", "stage2 has not been trained; run foveate train with --resume",
           half),
    stored("run.json changed", "run.json: its content does not match its run_sha256; …",
           lambda folder: (folder / "run.json").write_text(
               (folder / "run.json").read_text().replace("0.15", "0.25"))),
    stored("run.json with a field of another type",
           "run.json: settings.width is str '4'; expected int",
           lambda folder: sign(folder, lambda record: record["settings"].update(width="4"))),
    stored("a run of a network that is not known",
           'run.json: network "unet9"; expected one of unet, …',
           lambda folder: sign(folder, lambda record: record["settings"].update(network="unet9"))),
    stored("weights changed, cut or swapped",
           "stage1.safetensors: missing, or not the file that run.json was written for", swapped),
    stored("a pickle named safetensors (never run)",
           "stage1.safetensors: not a sound safetensors file: …", pickled),
    stored("NaN in a checkpoint", "stage1.safetensors: head.bias has values that are not finite",
           tensors(lambda values: values["head.bias"].fill_(float("nan")))),
    stored("a checkpoint of other shapes", "head.bias is [2], expected [1]",
           tensors(lambda values: values.update({"head.bias": torch.zeros(2)}))),
    stored("a tensor missing", "stage1.safetensors: head.bias is missing",
           tensors(lambda values: values.pop("head.bias"))),
    stored("a tensor too many", "stage1.safetensors: extra is not part of it",
           tensors(lambda values: values.update(extra=torch.zeros(1)))),
    stored("--precision that is not there",
           "--precision fp8: this version exports fp32, fp16, int8",
           lambda folder: None, "--precision", "fp8"),
    Case("int8 of a bundle without images",
         "int8 is calibrated on training images, and a bundle names none: give --data DATA", 2,
         lambda place: ["export", place.bundle, "--out", place.folder / "b", *INT8]),
    stored("int8 of a run whose data set is gone",
           "int8 is calibrated on training images, and … is gone: give --data DATA",
           lambda folder: sign(folder, lambda record: record["settings"].update(data_dir="gone")),
           *INT8),
    Case("int8 whose masks are others",
         "the int8 graph does not give PyTorch's masks: disagreement …; of the others these "
         "change masks most, each alone in 8 bits: stage…", 2, other_masks, slow=True),
    stored("export over what is no bundle", "exists and is not a bundle; choose another --out",
           lambda folder: (folder.parent / "b").mkdir()),
    Case("export over a bundle", "is a bundle already; --force replaces it", 2,
         lambda place: ["export", place.run, "--out", place.copy(place.bundle)]),
    Case("masks of more classes than the model", "has masks of 3 classes …: lesion. …", 2,
         more_classes),
    Case("evaluate without model", "neither a bundle (manifest.json) nor a run (run.json)", 2,
         lambda place: ["evaluate", place.folder, place.data]),
]  # fmt: skip
