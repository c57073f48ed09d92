"""Sign bundles and check signatures, so that a device takes only its maker's bundles.

``signature.json`` lies next to the manifest and covers the manifest's bytes, which hold the sha256
of every other file. It is checked before anything of the manifest is parsed. Keys are Ed25519
in PEM, as openssl reads and writes them; all of it needs the ``cryptography`` package.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.json_files import check_shape, parse_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE = "signature.json"
SCHEMA, ALGORITHM = 1, "ed25519"
SHOWN = 16
"""Digits of a key's fingerprint that a person is shown."""
_ED25519 = "hazmat.primitives.asymmetric.ed25519"
_FORMS = "hazmat.primitives.serialization"
MAKE_ONE = "foveate bundle keys, or openssl genpkey -algorithm ed25519, makes one"
EXPECTED = "expected a list of public keys, each the bytes of a PEM: Path(KEY).read_bytes()"
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
    if isinstance(trusted, str | bytes) or not isinstance(trusted, Sequence):
        raise SettingsError(f"trusted is a {type(trusted).__name__}; {EXPECTED}")
    for pem in trusted:
        if not isinstance(pem, bytes):
            raise SettingsError(f"trusted has a {type(pem).__name__}; {EXPECTED}")
    keys = {fingerprint(key): key for key in map(public_key, trusted)}
    if not keys:
        raise SettingsError("the list of trusted keys is empty; give a public key in PEM")
    shown = ", ".join(name[:SHOWN] for name in keys)
    if signature is None:
        raise BundleError(f"{path}: is not signed; expected a bundle signed with the key {shown}")
    if signature.key not in keys:
        raise BundleError(
            f"{path}: is signed with the key {signature.key[:SHOWN]}, which is not trusted; "
            f"expected {shown}"
        )
    if signature.manifest != hashlib.sha256(manifest).hexdigest():
        raise BundleError(
            f"{path}: its manifest is not the one that was signed; it was changed afterwards. "
            "Get the bundle from its maker again"
        )
    if not is_signed_by(keys[signature.key], signature.signature, manifest):
        raise BundleError(
            f"{path}: its signature was not made with the key {signature.key[:SHOWN]} that it "
            "names; it was damaged or forged. Get the bundle from its maker again"
        )


def _library(name: str) -> Any:
    """Return a module of cryptography; SettingsError with the line that installs it."""
    try:
        return importlib.import_module(f"cryptography.{name}")
    except ImportError:
        raise SettingsError(
            "signatures need cryptography, which is not installed: pip install 'foveate[sign]'"
        ) from None


def new_pair(password: bytes | None) -> tuple[bytes, bytes]:
    """Return the PEM of a new private key, encrypted where there is a password, and its public."""
    forms = _library(_FORMS)
    key = _library(_ED25519).Ed25519PrivateKey.generate()
    sealed = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, sealed)
    public = key.public_key().public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )
    return bytes(private), bytes(public)


def is_encrypted(pem: bytes) -> bool:
    """Say whether a private key's PEM is encrypted."""
    return b"ENCRYPTED" in pem


def private_key(pem: bytes, password: bytes | None = None) -> Ed25519PrivateKey:
    """Return the private key in a PEM; SettingsError where it holds none, or not this password."""
    if b"PUBLIC KEY" in pem:
        raise SettingsError(
            "a public key was given where the private one is expected: bundles are signed with the "
            "key that foveate bundle keys wrote next to it"
        )
    unknown = _library("exceptions").UnsupportedAlgorithm
    try:
        key = _library(_FORMS).load_pem_private_key(pem, password)
    except (ValueError, TypeError, unknown):
        wrong = "has a different password, or is damaged" if password else "is not in PEM"
        raise SettingsError(f"the private key {wrong}; {MAKE_ONE}") from None
    if not isinstance(key, _library(_ED25519).Ed25519PrivateKey):
        raise SettingsError(f"the private key is not an Ed25519 key; {MAKE_ONE}")
    return key  # type: ignore[no-any-return]  # mypy does not see the module in _library


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Return the public key in a PEM; SettingsError where it holds none."""
    if b"PRIVATE KEY" in pem:
        raise SettingsError(
            "a private key was given where the public one is expected; keep it where bundles are "
            "signed. openssl pkey -in KEY -pubout gives its public half"
        )
    unknown = _library("exceptions").UnsupportedAlgorithm
    try:
        key = _library(_FORMS).load_pem_public_key(pem)
    except (ValueError, unknown):
        raise SettingsError(f"the public key is not in PEM; {MAKE_ONE}") from None
    if not isinstance(key, _library(_ED25519).Ed25519PublicKey):
        raise SettingsError(f"the public key is not an Ed25519 key; {MAKE_ONE}")
    return key  # type: ignore[no-any-return]  # mypy does not see the module in _library


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the sha256 of a public key in DER, in hex: what tells keys apart."""
    forms = _library(_FORMS)
    der = key.public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def is_signed_by(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    """Say whether a signature is of this content and made with the key's private half."""
    try:
        key.verify(signature, content)
    except _library("exceptions").InvalidSignature:
        return False
    return True
