"""A bundle: the folder that holds a cascade and needs nothing but itself. Reading and verifying."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveate.runtime.errors import BundleError
from foveate.runtime.spec import CascadeSpec

SCHEMA = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
PARITY = "parity.json"
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. ``manifest`` is the whole of ``manifest.json``."""

    folder: Path
    spec: CascadeSpec
    manifest: Mapping[str, Any]

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.manifest["precisions"])

    def graph(self, precision: str) -> bytes:
        """Return the ONNX bytes of a precision, checked against the manifest."""
        if precision not in self.precisions:
            raise BundleError(
                f"{self.folder}: has no {precision} graph; it has {', '.join(self.precisions)}. "
                f"Export again with --precision {precision}"
            )
        data = self.read(graph_name(precision))
        if _has_external_data(data):
            raise BundleError(
                f"{self.folder / graph_name(precision)}: keeps weights in other files "
                "(ONNX external data); a bundle's graph holds everything itself"
            )
        return data

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the bundle, checked against the manifest's sha256."""
        stated = self.manifest["files"].get(name)
        path = self.folder / name
        if stated is None:
            raise BundleError(f"{self.folder}: the manifest lists no file {name}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != stated["sha256"]:
            raise BundleError(
                f"{path}: does not match its sha256 in the manifest; it was changed or damaged. "
                "Copy the bundle again"
            )
        return data


def graph_name(precision: str) -> str:
    """Return the file name of a precision's fused graph."""
    return f"cascade.{precision}.onnx"


def open_bundle(folder: Path) -> Bundle:
    """Return a bundle whose manifest is sound; BundleError gives the file and the reason.

    Each file's sha256 is checked when it is read.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle; wanted a folder with {MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read: {error.strerror}; wanted a bundle made by foveate export"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    _check_manifest(path, manifest)
    return Bundle(folder, CascadeSpec.from_dict(manifest["cascade"]), manifest)


def _check_manifest(path: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise BundleError(f"{path}: no schema number; wanted a manifest made by foveate export")
    if manifest["schema"] != SCHEMA:
        raise BundleError(
            f"{path}: schema {manifest['schema']}; this version reads schema {SCHEMA}. "
            "Use the foveate version that wrote it, or export again"
        )
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    if canonical_sha256(content) != manifest.get("manifest_sha256"):
        raise BundleError(f"{path}: does not match its own manifest_sha256; it was changed")
    files, precisions = manifest.get("files"), manifest.get("precisions")
    if not isinstance(files, dict) or not isinstance(precisions, list) or "cascade" not in manifest:
        raise BundleError(f"{path}: wanted the fields files, precisions and cascade")
    for name, entry in files.items():
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise BundleError(f"{path}: the file name {name!r} leaves the bundle's folder")
        if (path.parent / name).is_symlink():
            raise BundleError(f"{path.parent / name}: is a link; wanted a plain file")
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise BundleError(f"{path}: the file {name} has no sha256")
    unknown = [
        name for name in precisions if name not in PRECISIONS or graph_name(name) not in files
    ]
    if unknown or not precisions:
        raise BundleError(f"{path}: precisions {precisions} do not fit the files listed")


def canonical_sha256(values: Mapping[str, Any]) -> str:
    """Return the sha256 of JSON values written with sorted keys and no spaces."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _has_external_data(graph: bytes) -> bool:
    """Say whether ONNX bytes hold an external-data entry (its key ``location``, as protobuf)."""
    return b"\x0a\x08location" in graph
