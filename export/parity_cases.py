"""The images that parity is measured on: the validation images of a run, never its test list."""

from __future__ import annotations

from pathlib import Path

from foveate.runtime.errors import DataError
from foveate.train.dataset import Case, load_dataset
from foveate.train.phantom import PhantomSettings, phantoms
from foveate.train.run import read_run

LIMIT = 40
PHANTOMS = 8


def parity_cases(run: Path, data: Path | None) -> tuple[list[Case], str]:
    """Return at most 40 images with their truth, and words for where they come from.

    Without ``data`` the run's own data set is taken; where it is no longer there, phantoms are,
    with no truth, for the masks can still be compared.
    """
    record = read_run(run)
    root = data or Path(record["settings"]["data_dir"])
    if data is None and not root.is_dir():
        drawn = phantoms(PhantomSettings(PHANTOMS, seed=4711))
        return [Case(item.stem, item.image, None) for item in drawn], f"{PHANTOMS} phantoms"
    stems = record["data"]["validation"] if data is None else None
    settings = record["settings"]
    dataset = load_dataset(root, settings["image_dir_name"], settings["mask_dir_name"], stems)
    if dataset.classes > len(record["spec"]["classes"]) - 1:
        raise DataError(f"{root} has masks of more classes than the run was trained on")
    chosen = dataset.stems[:LIMIT]
    cases = [Case(stem, dataset.image(stem), dataset.mask(stem)) for stem in chosen]
    name = "validation images" if data is None else "images"
    return cases, f"{len(cases)} {name} of {root.resolve().name}"
