"""Install the root folders as one import package: ``runtime/x.py`` is ``foveate.runtime.x``."""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FOLDERS = ("train", "export", "runtime", "benchmarks")
CHECKOUT_PACKAGES = ("benchmarks.soak",)
CHECKOUT_MODULES = {
    "folder_ceiling", "gpu_aims", "large_images", "limited_process", "mask_encoders",
    "minimal_install", "paired", "readme_table", "serve_load",
}  # fmt: skip
"""Of benchmarks. These measure the checkout they lie in, and no command of foveate needs them: an
editable install has them, a wheel has not, for half a megabyte counts on a device."""


class BuildPy(build_py):
    """Leaves out of a wheel what only a checkout has a use for."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return (package, module, file) of what goes into a package."""
        found = super().find_package_modules(package, package_dir)
        if package != "foveate.benchmarks":
            return found
        return [item for item in found if item[1] not in CHECKOUT_MODULES]


packages = find_packages(
    include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")],
    exclude=[pattern for name in CHECKOUT_PACKAGES for pattern in (name, f"{name}.*")],
)

setup(
    packages=["foveate", *(f"foveate.{package}" for package in packages)],
    package_dir={"foveate": "src/foveate", **{f"foveate.{folder}": folder for folder in FOLDERS}},
    cmdclass={"build_py": BuildPy},
)
