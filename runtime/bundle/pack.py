"""Write a bundle again: packed into one file, or with a signature."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foveate.runtime.atomic_files import write_atomically
from foveate.runtime.bundle.bundle import MANIFEST, Bundle, check_bundle, check_signed
from foveate.runtime.bundle.containers import PackedFile, write_packed
from foveate.runtime.bundle.signing import SIGNATURE, Signature, sign
from foveate.runtime.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def pack(bundle: Bundle, out: Path) -> int:
    """Write a bundle as one file, checked before, and return its bytes.

    What the manifest does not list is left out; a signature goes along. The same bundle gives the
    same bytes. BundleError where ``out`` exists and is not a packed bundle. Raises OSError.
    """
    check_bundle(bundle)
    check_signed(bundle)
    if out.exists():
        try:
            PackedFile(out)
        except BundleError:
            raise BundleError(f"{out}: exists and is not a packed bundle; choose another") from None
    write_packed(out, _contents(bundle, bundle.signature))
    return out.stat().st_size


def sign_bundle(bundle: Bundle, key: Ed25519PrivateKey) -> Signature:
    """Sign a bundle where it lies, checked before, and return its signature. Raises OSError.

    One that it had is replaced.
    """
    check_bundle(bundle)
    signature = sign(bundle.manifest_bytes, key)
    if isinstance(bundle.files, PackedFile):
        write_packed(bundle.path.resolve(), _contents(bundle, signature))  # not over a link to it
    else:
        content = signature.content()
        write_atomically(bundle.path / SIGNATURE, content)
    return signature


def _contents(bundle: Bundle, signature: Signature | None) -> dict[str, bytes]:
    """Return what a packed bundle holds, by name."""
    own = {MANIFEST: bundle.manifest_bytes}
    if signature is not None:
        own[SIGNATURE] = signature.content()
    return own | {name: bundle.read(name) for name in bundle.manifest["files"]}
