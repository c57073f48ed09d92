"""A whole bundle checked: every file against its sha256, every graph for what it must not hold."""

from __future__ import annotations

from typing import Any

from foveate.runtime.bundle.bundle import MANIFEST, PARITY, Bundle
from foveate.runtime.bundle.signing import SIGNATURE
from foveate.runtime.errors import BundleError
from foveate.runtime.json_files import check_shape, parse_bytes


def check_bundle(bundle: Bundle) -> dict[str, int]:
    """Return the bytes of each file the manifest lists, once all are known to be sound.

    BundleError gives the first file that is not, and why: its sha256, what an ONNX graph must not
    hold, or a parity record of another form.
    """
    sizes = {name: len(bundle.sound(name)) for name in bundle.manifest["files"]}
    parity_rows(bundle)
    return sizes


def check_signed(bundle: Bundle) -> None:
    """Raise BundleError where the bundle's signature is of another manifest: no key is wanted.

    Whose it is only ``open_bundle`` with keys says.
    """
    if bundle.signature is not None and bundle.signature.manifest != bundle.content_sha256:
        raise BundleError(
            f"{bundle.path / SIGNATURE}: is of another manifest, so whoever trusts a key refuses "
            "this bundle; sign it again, or remove the signature"
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
    """Return the names beside a bundle's files that its manifest does not list; none is read."""
    return sorted(bundle.files.names() - {MANIFEST, SIGNATURE, *bundle.manifest["files"]})
