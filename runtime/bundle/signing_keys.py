"""Ed25519 keys in PEM, as openssl reads and writes them. Needs the ``cryptography`` package."""

from __future__ import annotations

import hashlib
import importlib
from typing import TYPE_CHECKING, Any

from foveate.runtime.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_ED25519 = "hazmat.primitives.asymmetric.ed25519"
_FORMS = "hazmat.primitives.serialization"
MAKE_ONE = "foveate bundle keys, or openssl genpkey -algorithm ed25519, makes one"


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
    """Say whether a private key's PEM wants a password."""
    return b"ENCRYPTED" in pem


def private_key(pem: bytes, password: bytes | None = None) -> Ed25519PrivateKey:
    """Return the private key in a PEM; SettingsError where it holds none, or not this password."""
    if b"PUBLIC KEY" in pem:
        raise SettingsError(
            "a public key was given where the private one is wanted: bundles are signed with the "
            "key that foveate bundle keys wrote beside it"
        )
    unknown = _library("exceptions").UnsupportedAlgorithm
    try:
        key = _library(_FORMS).load_pem_private_key(pem, password)
    except (ValueError, TypeError, unknown):
        wrong = "has another password, or is damaged" if password else "is not one in PEM"
        raise SettingsError(f"the private key {wrong}; {MAKE_ONE}") from None
    if not isinstance(key, _library(_ED25519).Ed25519PrivateKey):
        raise SettingsError(f"the private key is not of Ed25519; {MAKE_ONE}")
    return key  # type: ignore[no-any-return]  # mypy does not see the module in _library


def public_key(pem: bytes) -> Ed25519PublicKey:
    """Return the public key in a PEM; SettingsError where it holds none."""
    if b"PRIVATE KEY" in pem:
        raise SettingsError(
            "a private key was given where the public one is wanted; keep it where bundles are "
            "signed. openssl pkey -in KEY -pubout gives its public half"
        )
    unknown = _library("exceptions").UnsupportedAlgorithm
    try:
        key = _library(_FORMS).load_pem_public_key(pem)
    except (ValueError, unknown):
        raise SettingsError(f"the public key is not one in PEM; {MAKE_ONE}") from None
    if not isinstance(key, _library(_ED25519).Ed25519PublicKey):
        raise SettingsError(f"the public key is not of Ed25519; {MAKE_ONE}")
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
