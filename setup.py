"""Install the root folders as one import package: ``runtime/x.py`` is ``foveate.runtime.x``."""

from setuptools import find_packages, setup

FOLDERS = ("train", "export", "runtime", "benchmarks")

packages = find_packages(
    include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")],
)

setup(
    packages=["foveate", *(f"foveate.{package}" for package in packages)],
    package_dir={"foveate": "src/foveate", **{f"foveate.{folder}": folder for folder in FOLDERS}},
)
