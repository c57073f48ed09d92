"""The Containerfile: its steps in a fresh folder, then foveate as a user who may write to OUT.

No container engine is needed. As root the whole file system is made read-only, in a namespace of
its own, and the user is the Containerfile's; elsewhere only the installed files are.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from foveate.train.data.phantom import PhantomSettings, write_phantoms
from tests.conftest import run
from tests.test_layout import ROOT

pytestmark = pytest.mark.slow
SITE = "/opt/foveate"
MOST_MB = 450
BASE_MB = 119.42
"""python:3.12.14-slim-trixie, all layers, as docker-library/repo-info states it."""
CONFINED = """
mount --bind "$1" "$1" && mount --bind "$2" "$3" && mount -o remount,bind,ro / || exit 99
user=$4 group=$5
shift 5
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs -- "$@"
"""


def instructions() -> list[tuple[str, str]]:
    """Return the name and the text of each instruction."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def texts(name: str) -> list[str]:
    return [text for found, text in instructions() if found == name]


@dataclass(frozen=True)
class Image:
    """What the steps installed into a folder that any user may read."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def bundle(self) -> Path:
        return self.site / "foveate" / "benchmarks" / "demo_bundle"

    def build(self) -> None:
        source = self.folder / "source"
        skip = shutil.ignore_patterns("__pycache__", "results")
        arguments = {}
        for name, text in instructions():
            if name == "ARG":
                key, _, value = text.partition("=")
                arguments[key] = value.strip("'")
            elif name == "COPY" and not text.startswith("--from"):
                *parts, to = text.split()
                for part in parts:
                    if (ROOT / part).is_dir():
                        shutil.copytree(ROOT / part, source / to, ignore=skip)
                    else:
                        (source / to).mkdir(exist_ok=True)
                        shutil.copy(ROOT / part, source / to)
            elif name == "RUN":
                path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                command = ["sh", "-c", text.replace(SITE, str(self.site))]
                environment = {**os.environ, **arguments, "PATH": path}
                subprocess.run(command, check=True, cwd=source, env=environment)
        self.out.mkdir()
        (self.folder / "python").mkdir()
        if confined():
            os.chown(self.out, *map(int, texts("USER")[0].split(":")))
        else:
            self.chmod(0o555)

    def chmod(self, mode: int) -> None:
        """Set the rights of all folders that were installed."""
        for path in (self.site, *self.site.rglob("*")):
            if path.is_dir():
                path.chmod(mode)

    def popen(self, arguments: Sequence[object]) -> subprocess.Popen[str]:
        """Start Python with arguments in the image, without the packages of this one."""
        words = texts("ENV")[0].replace(SITE, str(self.site)).split()
        environment = dict(word.split("=", 1) for word in words if not word.startswith("PATH="))
        command, python = [], Path(sys.executable)
        if confined():
            place, user = self.folder / "python", texts("USER")[0].split(":")
            python = place / "bin" / f"python3.{sys.version_info[1]}"
            environment["LD_LIBRARY_PATH"] = str(place / "lib")
            command = ["unshare", "-m", "sh", "-c", CONFINED, "sh", self.out]
            command += [sys.base_prefix, place, *user]
        command += [python, "-S", *arguments]
        return subprocess.Popen(
            list(map(str, command)), env=environment, text=True, cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ran(self, arguments: Sequence[object]) -> tuple[int, str, str]:
        """Return the exit code of Python in the image, and what it printed."""
        process = self.popen(arguments)
        said, problems = process.communicate(timeout=200)
        return process.returncode, said, problems

    def foveate(self, *arguments: object) -> str:
        code, said, problems = self.ran([self.entrypoint, *arguments])
        assert code == 0, problems
        return said

    @property
    def entrypoint(self) -> Path:
        (name,) = ast.literal_eval(texts("ENTRYPOINT")[0])
        return self.site / "bin" / str(name)


def confined() -> bool:
    """Say whether a process may get its own, read-only view of the file system."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv")):
        return False
    tried = subprocess.run(["unshare", "-m", "mount", "-o", "remount,bind,ro", "/"], check=False)
    return tried.returncode == 0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="foveate-image-"))
    try:
        folder.chmod(0o755)
        (folder / "source").mkdir()
        made = Image(folder)
        made.build()
        yield made
        made.chmod(0o755)
    finally:
        shutil.rmtree(folder)


def test_it_is_small_and_without_torch(image: Image) -> None:
    assert not [name for name in ("torch", "onnx", "openvino") if (image.site / name).exists()]
    size = sum(path.lstat().st_size for path in image.site.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB installed, {BASE_MB} MB of Python")
    assert size / 1e6 + BASE_MB <= MOST_MB


def test_it_segments_as_the_checkout_does(image: Image) -> None:
    assert "onnxruntime" in image.foveate("info")
    if confined():
        assert "Read-only file system" in image.ran(["-c", "open('new', 'w')"])[2]
    assert "auto: onnxruntime fp32" in image.foveate("info", image.bundle)
    list(write_phantoms(image.folder / "phantoms", PhantomSettings(2, 512, seed=3)))
    images = image.folder / "phantoms" / "images"
    report = json.loads(
        image.foveate("segment", image.bundle, images, "--out", image.out / "masks", "--json")
    )
    assert report["written"] == 2 and report["engines"] == {"onnxruntime fp32": 2}
    expected = image.folder / "expected"
    bundle = ROOT / "benchmarks" / "demo_bundle"
    run("segment", bundle, images, "--out", expected, "--engine", "onnxruntime")
    names = sorted(path.name for path in expected.glob("*.png"))
    assert len(names) == 2
    for name in names:
        assert (image.out / "masks" / name).read_bytes() == (expected / name).read_bytes()


def test_its_health_check_follows_the_server(image: Image) -> None:
    user = texts("USER")[0].split(":")
    assert all(int(number) > 0 for number in user)
    (check,) = texts("HEALTHCHECK")
    python, *check_arguments = ast.literal_eval(check.partition("CMD ")[2])
    assert python == "python"
    serve = [image.entrypoint, "serve", image.bundle, "--port", 0, "--host", "0.0.0.0"]
    server = image.popen(serve)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split()[0].rstrip("/").rpartition(":")[2]
        here = [text.replace(":8000", f":{port}") for text in check_arguments]
        assert here != check_arguments
        assert image.ran(here) == (0, "", "")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready") as reply:
            assert reply.status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert image.ran(here)[0] == 1
    finally:
        server.kill()
        server.communicate()
