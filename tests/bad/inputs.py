"""Inputs and --out that stop ``segment`` before any image: one line, exit code 2."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

from tests.bad.case import Case, Place


def given(place: Place, *inputs: object, out: str = "out") -> list[object]:
    return ["segment", place.bundle, *inputs, "--out", place.folder / out]


def into_images(place: Place) -> list[object]:
    folder = place.copy(place.data)
    return ["segment", place.bundle, folder / "images", "--out", folder / "images"]


def scan(place: Place, *folders: str) -> list[Path]:
    for folder in folders:
        (place.folder / folder).mkdir(parents=True)
        shutil.copy(place.image(), place.folder / folder / "scan.png")
    return [place.folder / folder for folder in folders]


def copies(place: Place, *names: str) -> list[Path]:
    return [Path(shutil.copy(place.image(), place.folder / name)) for name in names]


def overlays(place: Place) -> list[object]:
    scan(place, "in/overlays")
    return [*given(place, place.folder / "in"), "--recursive"]


def no_list(place: Place) -> list[object]:
    place.patch.chdir(place.folder)
    return given(place, "@gone.txt")


def stems_for_paths(place: Place) -> list[object]:
    (place.folder / "list.txt").write_text("one\ntwo\n")
    return given(place, f"@{place.folder}/list.txt")


def stems(place: Place, other: str) -> list[object]:
    listed = place.folder / "list.txt"
    listed.write_text(f"{place.image().stem}\n{other}\n")
    return [*given(place, place.data / "images"), "--list", listed]


def whole_and_shards(place: Place) -> list[object]:
    (place.folder / "out").mkdir()
    (place.folder / "out" / "job.json").write_text("{}")
    return [*given(place, place.image()), "--shard", "1/2"]


def empty_list(place: Place) -> list[object]:
    (place.folder / "list.txt").write_text("\n\n")
    return given(place, f"@{place.folder}/list.txt")


def nothing_on_stdin(place: Place) -> list[object]:
    place.patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO()))
    return given(place, "-")


def without_serve(place: Place) -> list[object]:
    place.patch.setitem(sys.modules, "foveate.runtime.serve.app", None)
    return ["serve", place.bundle]


def without_ray(place: Place) -> list[object]:
    place.patch.setitem(sys.modules, "ray", None)
    return [*given(place, place.image()), "--ray"]


INPUTS = [
    Case("nothing found", "no images found in …; expected image files, folders of them …", 2,
         lambda place: given(place, f"{place.folder}/*.png")),
    Case("nothing on standard input",
         "- is standard input, and it is empty; expected one path a line", 2, nothing_on_stdin),
    Case("a list that is not there",
         "@gone.txt: the list gone.txt cannot be read: No such file or directory; …", 2, no_list),
    Case("a list of stems instead of paths",
         "none of its 2 lines is the path of a file; they look like stems: give the folder of …", 2,
         stems_for_paths),
    Case("a stem without an image", "1 of 2 stems have no image: gone", 2,
         lambda place: stems(place, "gone")),
    Case("a list of paths instead of stems",
         "stems have no image: …; a list of files is given as @…", 2,
         lambda place: stems(place, "images/sound.png")),
    Case("stems with a suffix", "stems have no image: sound.png. Stems have no suffix: sound", 2,
         lambda place: stems(place, "sound.png")),
    Case("shards into the folder of a whole run",
         "job.json: is of a run without --shard, and this one is in 2 shards; choose another …", 2,
         whole_and_shards),
    Case("an empty list", "the list is empty; expected one path a line", 2, empty_list),
    Case("--out is the images' folder", "is the folder of the images …; masks would overwrite …",
         2, into_images),
    Case("a subfolder of images called overlays",
         "would be written to …, where foveate keeps its overlays; …", 2, overlays),
    Case("two images of one name in two folders",
         "would both be written to scan.png.png; segment them into two folders, or …", 2,
         lambda place: given(place, *scan(place, "a", "b"))),
    Case("two names that differ only in case",
         "their names differ only in upper and lower case, …; rename one of them, or …", 2,
         lambda place: given(place, *copies(place, "x.png", "X.PNG"))),
    Case("a shard that does not exist", '--shard is "4/3"; expected I/N with I from 1 to N, …', 2,
         lambda place: [*given(place, place.image()), "--shard", "4/3"]),
    Case("--labels without --objects",
         "--labels and --split say how objects are written; add --objects", 2,
         lambda place: [*given(place, place.image()), "--labels"]),
    Case("a window of one value", 'window is "400"; expected LOW,HIGH: two numbers, …', 2,
         lambda place: [*given(place, place.image()), "--window", "400"]),
    Case("a pixel size without a unit",
         'pixel size is "0.5"; expected a length with nm, um, mm, cm or m, such as 0.5um, or …', 2,
         lambda place: [*given(place, place.image()), "--pixel-size", "0.5"]),
    Case("a threshold of a class that the bundle lacks",
         'threshold names the class "nerve"; the bundle has lesion', 2,
         lambda place: [*given(place, place.image()), "--threshold", "nerve=0.3"]),
    Case("a threshold in percent",
         'threshold is "30"; expected a number between 0 and 1, or one for each of some …', 2,
         lambda place: [*given(place, place.image()), "--threshold", "30"]),
    Case("an area in a unit of length",
         'min-area is "12um"; expected an area such as 30px, 12um2 or 0.5mm2', 2,
         lambda place: [*given(place, place.image()), "--min-area", "12um"]),
    Case("serve with an area in um2",
         "min-area is 12um2, and arrays have no pixel size; give it in pixels", 2,
         lambda place: ["serve", place.bundle, "--min-area", "12um2"]),
    Case("neither images nor --watch", "there is nothing to segment; expected INPUT..., or …", 2,
         lambda place: given(place)),
    Case("--watch and images",
         "--watch cannot be combined with INPUT, --list, --ray or --shard; …", 2,
         lambda place: [*given(place, place.image()), "--watch", place.folder]),
    Case("--watch of something that is not a folder", "missing is not an existing folder", 2,
         lambda place: [*given(place), "--watch", place.folder / "missing"]),
    Case("--watch of a folder in --out",
         "is inside --out …, whose files are never inputs; expected two folders, or …", 2,
         lambda place: [*given(place, out="."), "--watch", scan(place, "inbox")[0]]),
    Case("serve that waits for nan", "Invalid value for '--timeout': nan is not a number", 2,
         lambda place: ["serve", place.bundle, "--timeout", "nan"]),
    Case("--watch of --out", "is the folder of the images …; masks would overwrite …", 2,
         lambda place: [*given(place, out="."), "--watch", place.folder]),
    Case("serve without its packages", "serve needs more packages (…): pip install 'foveate…", 2,
         without_serve),
    Case("serve at an address of another machine",
         "cannot listen there: Cannot assign requested address; expected an address of this …", 2,
         lambda place: ["serve", place.bundle, "--host", "203.0.113.1"]),
    Case("--ray without Ray", "--ray needs Ray (…): pip install 'foveate[ray]'", 2, without_ray),
    Case("--ray and no address", '--ray is "head"; expected HOST:PORT of a cluster, auto …', 2,
         lambda place: [*given(place, place.image()), "--ray=head"]),
    Case("--ray and --gpu", "--gpu is 1, and --ray gives every actor a GPU of its own; leave …", 2,
         lambda place: [*given(place, place.image()), "--ray=auto", "--gpu", "1"]),
    Case("--ray where nothing listens",
         "--ray 127.0.0.1:1: no Ray cluster answers there; start one with: ray start --head …", 2,
         lambda place: [*given(place, place.image()), "--ray", "127.0.0.1:1"]),
]  # fmt: skip
