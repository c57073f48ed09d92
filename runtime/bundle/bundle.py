"""Open and check a bundle: the folder, or packed file, that holds a whole cascade."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.bundle.containers import MAX_BYTES, BundleFolder, PackedFile
from foveate.runtime.bundle.graph_safety import graph_problem
from foveate.runtime.bundle.signing import SIGNATURE, Signature, check_signature, parse_signature
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import canonical_sha256, check_shape, is_a, parse_bytes
from foveate.runtime.spec import CascadeSpec

SCHEMA = 1
MANIFEST = "manifest.json"
RUN_FILE = "run.json"
"""What tells the folder of a training from a bundle."""
WEIGHTS = "weights.safetensors"
PARITY = "parity.json"
LIMITS = {MANIFEST: 1 << 20, PARITY: 1 << 20, SIGNATURE: 4 << 10}
"""Most bytes of the files that are parsed here; export writes less than 5,000 of each."""
PRECISIONS = ("fp32", "fp16", "int8")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Names a bundle's files may have: none leaves the folder or has a meaning to a system."""

_NETWORK = {"name": str, "width": int, "depth": int}
_SHAPE = {
    "kind": str,
    "cascade": dict,
    "network": _NETWORK,
    "precisions": [str],
    "files": dict,
    "data": {"name": str, "licence": str},
}
_IMPORTED = {"file": str, "sha256": str, "producer": str, "licence": str}
_INITIAL = {"name": str, "licence": str}
MAX_MEMBERS = 32
"""Most runs that one bundle averages."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. ``manifest`` is the whole of ``manifest.json``.

    ``path`` is its folder or packed file, ``manifest_bytes`` what was read. ``signature`` is
    what its signature says, None where it has none; only ``open_bundle`` with keys checks it.
    """

    files: BundleFolder | PackedFile
    spec: CascadeSpec
    manifest: Mapping[str, Any]
    manifest_bytes: bytes
    signature: Signature | None

    @property
    def path(self) -> Path:
        return self.files.path

    @property
    def label(self) -> str:
        """The name of its folder or file, and 12 digits of ``manifest_sha256``."""
        name = os.path.basename(os.path.abspath(self.path))
        return f"{name} {self.manifest['manifest_sha256'][:12]}"

    @property
    def content_sha256(self) -> str:
        """The sha256 of ``manifest.json`` as it was read."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.manifest["precisions"])

    @property
    def width(self) -> int:
        """The width of the network that segments: stage 2's, or the only one's."""
        network = self.manifest["network"]
        return int(network.get("stage2", network)["width"])

    def graph(self, precision: str) -> bytes:
        """Return the ONNX bytes of a precision, checked against the manifest."""
        self._check_precision(precision)
        return self.sound(graph_name(precision))

    def sound(self, name: str) -> bytes:
        """Return the bytes of a file, checked as by ``read``, and a graph for what it may hold."""
        data = self.read(name)
        problem = graph_problem(data) if name.endswith(".onnx") else ""
        if problem:
            raise BundleError(f"{self.path / name}: {problem}")
        return data

    def graph_sha256(self, precision: str) -> str:
        """Return the sha256 that the manifest states of a precision's graph, without reading it."""
        self._check_precision(precision)
        return str(self.manifest["files"][graph_name(precision)]["sha256"])

    def _check_precision(self, precision: str) -> None:
        if precision not in self.precisions:
            raise BundleError(
                f"{self.path}: has no {precision} graph; it has {', '.join(self.precisions)}. "
                "Choose one of them, or export again"
            )

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the bundle, checked against the manifest's sha256."""
        stated = self.manifest["files"].get(name)
        if stated is None:
            raise BundleError(f"{self.path}: the manifest does not list {name}")
        data = self.files.read(name, LIMITS.get(name, MAX_BYTES))
        if hashlib.sha256(data).hexdigest() != stated["sha256"]:
            raise BundleError(
                f"{self.path / name}: does not match its sha256 in the manifest; it was changed or "
                "damaged. Copy the bundle again"
            )
        return data


def graph_name(precision: str) -> str:
    """Return the file name of a precision's fused graph."""
    return f"cascade.{precision}.onnx"


def open_bundle(path: Path, trusted: Sequence[bytes] | None = None) -> Bundle:
    """Return a bundle whose manifest is sound; BundleError gives the file and the reason.

    Each file's sha256 is checked when it is read. ``trusted`` are public keys in PEM: unless one
    of them signed the bundle it is refused before its manifest is parsed, and unless every file is
    the one that was signed, also unused ones. None asks for no signature.
    """
    files = _files(path)
    content, signature = files.read(MANIFEST, LIMITS[MANIFEST]), _signature(files)
    if trusted is not None:
        check_signature(path, signature, content, trusted)
    manifest = parse_bytes(path / MANIFEST, content)
    _check_manifest(path / MANIFEST, manifest)
    if not isinstance(files, BundleFolder):
        _check_names(files, {MANIFEST, *manifest["files"]})
    try:
        spec = CascadeSpec.from_dict(manifest["cascade"])
    except BundleError as error:
        raise BundleError(f"{path / MANIFEST}: {error}") from None
    bundle = Bundle(files, spec, manifest, content, signature)
    if trusted is not None:
        for name in manifest["files"]:
            bundle.read(name)
    return bundle


def ensemble_of(manifest: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how many networks each stage averages, and whether also over mirrored inputs."""
    network = manifest["network"]
    return int(network.get("members", 1)), bool(network.get("flips", False))


def is_bundle(path: Path) -> bool:
    """Say whether a path can only be meant as a bundle: a folder with a manifest, or a file."""
    return (path / MANIFEST).exists() or path.is_file()


def check_bundle(bundle: Bundle) -> dict[str, int]:
    """Return the bytes of each file the manifest lists, once all are known to be sound.

    BundleError gives the first file that is not, and why: its sha256, what an ONNX graph must not
    hold, or a parity record of another form.
    """
    sizes = {name: len(bundle.sound(name)) for name in bundle.manifest["files"]}
    parity_rows(bundle)
    return sizes


def check_signed(bundle: Bundle) -> None:
    """Raise BundleError where the bundle's signature is of another manifest: no key is needed.

    Whose it is only ``open_bundle`` with keys says.
    """
    if bundle.signature is not None and bundle.signature.manifest != bundle.content_sha256:
        raise BundleError(
            f"{bundle.path / SIGNATURE}: signs another manifest, so the bundle is refused wherever "
            "signatures are checked; sign it again, or remove the signature"
        )


def parity_rows(bundle: Bundle) -> dict[str, Any]:
    """Return the rows of ``parity.json``, by precision; none where a bundle has no such record.

    BundleError when they are not what export writes.
    """
    if PARITY not in bundle.manifest["files"]:
        return {}
    path = bundle.path / PARITY
    content = parse_bytes(path, bundle.read(PARITY))
    check_shape(path, content, {"precisions": dict})
    rows = content["precisions"]
    check_shape(path, rows, dict.fromkeys(rows, {"disagreement": float, "how": str}), "precisions")
    return dict(rows)


def unlisted(bundle: Bundle) -> list[str]:
    """Return the files next to a bundle's own that its manifest does not list; none is read."""
    return sorted(bundle.files.names() - {MANIFEST, SIGNATURE, *bundle.manifest["files"]})


def _files(path: Path) -> BundleFolder | PackedFile:
    if path.is_file():
        return PackedFile(path)
    if not path.is_dir():
        raise BundleError(
            f"{path}: no such bundle; expected a folder with {MANIFEST}, or a file of foveate "
            "bundle pack"
        )
    if not (path / MANIFEST).exists() and (path / RUN_FILE).exists():
        raise BundleError(f"{path}: is a run, not a bundle; make one of it with foveate export")
    return BundleFolder(path)


def _signature(files: BundleFolder | PackedFile) -> Signature | None:
    if SIGNATURE not in files.names():
        return None
    return parse_signature(files.path / SIGNATURE, files.read(SIGNATURE, LIMITS[SIGNATURE]))


def _check_names(files: PackedFile, listed: set[str]) -> None:
    """Raise BundleError unless a packed bundle holds what its manifest lists and nothing else."""
    others = sorted((files.names() - {SIGNATURE}) ^ listed)
    if others:
        name = others[0]
        what = (
            f"has no {name}"
            if name in listed
            else f"holds {name}, which its manifest does not list"
        )
        raise BundleError(f"{files.path}: {what}; pack the bundle again")


def _check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    if not is_a(manifest.get("schema"), int):
        raise BundleError(
            f"{path}: has no schema number; expected a manifest made by foveate export"
        )
    if manifest["schema"] != SCHEMA:
        raise BundleError(
            f"{path}: schema {manifest['schema']}; this version reads schema {SCHEMA}. "
            "Use the foveate version that wrote it, or export again"
        )
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    if canonical_sha256(content) != manifest.get("manifest_sha256"):
        raise BundleError(f"{path}: does not match its own manifest_sha256; it was changed")
    check_shape(path, manifest, _SHAPE)
    network = {"members": 1, "flips": False, **manifest["network"]}
    check_shape(path, network, {"members": int, "flips": bool}, "network")
    if not 1 <= network["members"] <= MAX_MEMBERS:
        raise BundleError(
            f"{path}: network.members is {network['members']}; expected 1 to {MAX_MEMBERS}"
        )
    stage2 = network.get("stage2", network)
    check_shape(path, stage2, _NETWORK, "network.stage2")
    for one in (network, stage2):
        if "imported" in one:
            check_shape(path, one["imported"], _IMPORTED, "network.imported")
    check_shape(path, manifest["data"].get("initial", []), [_INITIAL], "data.initial")
    for name, entry in manifest["files"].items():
        if name in (MANIFEST, SIGNATURE):
            raise BundleError(f"{path}: lists {name} among its own files")
        if not FILE_NAME.fullmatch(name):
            raise BundleError(
                f"{path}: the file name {name[:60]!r} leaves the bundle's folder, or could; "
                "expected letters, digits, dots, dashes"
            )
        check_shape(path, entry, {"sha256": str}, f"files.{name}")
    files, precisions = manifest["files"], manifest["precisions"]
    unknown = [
        name for name in precisions if name not in PRECISIONS or graph_name(name) not in files
    ]
    if unknown or not precisions:
        raise BundleError(f"{path}: precisions {precisions} do not fit the files listed")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
