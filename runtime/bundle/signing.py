"""A bundle's signature: who made it, so that a device takes no other's.

``signature.json`` lies beside the manifest and is over the manifest's bytes, which hold the sha256
of every other file. It is checked before anything of the manifest is parsed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.json_files import check_shape, parse_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "signature.json"
SCHEMA, ALGORITHM = 1, "ed25519"
SHOWN = 16
"""Digits of a key's fingerprint that a person is shown."""
WANTED = "wanted a list of public keys, each the bytes of a PEM: Path(KEY).read_bytes()"
_SHAPE = {"schema": int, "algorithm": str, "key": str, "manifest": str, "signature": str}


@dataclass(frozen=True)
class Signature:
    """What ``signature.json`` says; nothing of it is believed until ``check_signature``.

    ``key`` is the fingerprint of the signer's public key, ``manifest`` the sha256 of the bytes that
    were signed: with them a refusal can say what is wrong.
    """

    key: str
    manifest: str
    signature: bytes

    def content(self) -> bytes:
        """Return the content of ``signature.json``."""
        values = {
            "schema": SCHEMA,
            "algorithm": ALGORITHM,
            "key": self.key,
            "manifest": self.manifest,
            "signature": base64.b64encode(self.signature).decode(),
        }
        return (json.dumps(values, indent=1) + "\n").encode()


def keys_in(paths: Sequence[Path]) -> tuple[bytes, ...] | None:
    """Return the public keys of files, as they are; None where there are none: any bundle will do.

    Raises OSError for a file that cannot be read.
    """
    return tuple(path.read_bytes() for path in paths) or None


def sign(manifest: bytes, key: Ed25519PrivateKey) -> Signature:
    """Return the signature of a manifest's bytes."""
    from foveate.runtime.bundle.signing_keys import fingerprint

    digest = hashlib.sha256(manifest).hexdigest()
    return Signature(fingerprint(key.public_key()), digest, key.sign(manifest))


def parse_signature(path: Path, content: bytes) -> Signature:
    """Return what a ``signature.json`` says; BundleError names ``path`` and what is wrong."""
    values = parse_bytes(path, content)
    check_shape(path, values, _SHAPE)
    if (values["schema"], values["algorithm"]) != (SCHEMA, ALGORITHM):
        raise BundleError(
            f"{path}: schema {values['schema']}, {values['algorithm'][:20]}; this version reads "
            f"schema {SCHEMA}, {ALGORITHM}"
        )
    return Signature(values["key"], values["manifest"], _decoded(path, values["signature"]))


def _decoded(path: Path, text: str) -> bytes:
    """Return the bytes of base64 of the one form that ``b64encode`` writes."""
    try:
        signature = base64.b64decode(text, validate=True)
    except ValueError:
        signature = b""
    if base64.b64encode(signature).decode() != text:
        raise BundleError(f"{path}: its signature is not base64; it was damaged")
    return signature


def check_signature(
    path: Path, signature: Signature | None, manifest: bytes, trusted: Sequence[bytes]
) -> None:
    """Raise BundleError unless one of the trusted keys signed these bytes of a manifest.

    ``trusted`` are public keys in PEM; SettingsError where one is none. ``path`` is the bundle's.
    """
    from foveate.runtime.bundle.signing_keys import fingerprint, is_signed_by, public_key

    if isinstance(trusted, str | bytes) or not isinstance(trusted, Sequence):
        raise SettingsError(f"trusted is a {type(trusted).__name__}; {WANTED}")
    for pem in trusted:
        if not isinstance(pem, bytes):
            raise SettingsError(f"trusted has a {type(pem).__name__}; {WANTED}")
    keys = {fingerprint(key): key for key in map(public_key, trusted)}
    if not keys:
        raise SettingsError("no key is trusted, so no bundle can be; give a public key in PEM")
    shown = ", ".join(name[:SHOWN] for name in keys)
    if signature is None:
        raise BundleError(f"{path}: is not signed; wanted a bundle signed with the key {shown}")
    if signature.key not in keys:
        raise BundleError(
            f"{path}: is signed with the key {signature.key[:SHOWN]}, which is not trusted; "
            f"wanted {shown}"
        )
    if signature.manifest != hashlib.sha256(manifest).hexdigest():
        raise BundleError(
            f"{path}: its manifest is not the one that was signed; it was changed afterwards. "
            "Get the bundle from its maker again"
        )
    if not is_signed_by(keys[signature.key], signature.signature, manifest):
        raise BundleError(
            f"{path}: its signature is not of the key {signature.key[:SHOWN]} that it names; it "
            "was damaged or forged. Get the bundle from its maker again"
        )
