"""``foveate bundle``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from foveate.runtime.bundle.bundle import check_bundle, check_signed, open_bundle, unlisted
from foveate.runtime.bundle.describe import bundle_facts, bundle_values
from foveate.runtime.bundle.pack import pack, sign_bundle
from foveate.runtime.bundle.signing import (
    SHOWN,
    SIGNATURE,
    fingerprint,
    is_encrypted,
    new_pair,
    private_key,
    public_key,
)
from foveate.runtime.errors import SettingsError, one_line

PASSWORD = "FOVEATE_KEY_PASSWORD"


@click.group()
def bundle() -> None:
    """Show, check, pack and sign a bundle; needs no engine.

    \b
    Example:
      foveate bundle show lung.bundle
      foveate bundle pack lung.bundle --out lung.foveate
      foveate bundle keys --out maker.pem
      foveate bundle sign lung.foveate --key maker.pem
      foveate segment lung.foveate scans/ --out masks --trust maker.pub.pem
    """


@bundle.command(short_help="What a bundle is.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show(bundle: Path, as_json: bool) -> None:
    """Say what BUNDLE is: the same on every machine, every file of it checked.

    What runs it on this machine is foveate info BUNDLE.

    \b
    Example:
      foveate bundle show lung.bundle --json
    """
    opened = open_bundle(bundle)
    if as_json:
        click.echo(json.dumps(bundle_values(opened), indent=1))
        return
    for name, value in bundle_facts(opened).items():
        click.echo(one_line(f"{name}: {value}"))


@bundle.command(short_help="Check every file of a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
def verify(bundle: Path) -> None:
    """Check every file of BUNDLE: manifest, sha256, and what its graphs must not hold.

    Exit code 2 with the file and the reason where one is not sound. Of a signature only that it is
    of this manifest: whose it is foveate bundle verify-signature says.

    \b
    Example:
      foveate bundle verify lung.foveate
    """
    opened = open_bundle(bundle)
    for name, size in check_bundle(opened).items():
        click.echo(f"{name}: {size} bytes, sound")
    check_signed(opened)
    if opened.signature is not None:
        key = opened.signature.key[:SHOWN]
        click.echo(one_line(f"{SIGNATURE}: of this manifest; names the key {key}, unchecked"))
    for name in unlisted(opened):
        click.echo(one_line(f"{name}: not part of the bundle, never read"))


@bundle.command("pack", short_help="One file of a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
def pack_command(bundle: Path, out: Path) -> None:
    """Pack BUNDLE into one file, which every command takes in its place.

    It is a ZIP, not compressed; the same bundle gives the same bytes. What the manifest does not
    list is left out. Any program that opens a ZIP makes a folder of it again.

    \b
    Example:
      foveate bundle pack lung.bundle --out lung.foveate
    """
    opened = open_bundle(bundle)
    size = pack(opened, out)
    left = unlisted(opened)
    omitted = f"; left out: {', '.join(left)}" if left else ""
    click.echo(one_line(f"{out}: {size / 1e6:.2f} MB{omitted}"))


@bundle.command(short_help="Make a pair of keys.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Private key to write.")
@click.option("--encrypt", is_flag=True, help="Encrypt it with a password that is asked for.")
def keys(out: Path, encrypt: bool) -> None:
    """Make a pair of Ed25519 keys: OUT is private, OUT.pub.pem goes to the devices.

    Both are PEM, as openssl reads and writes them. The password of --encrypt is that of the
    environment's FOVEATE_KEY_PASSWORD, or is asked for.

    \b
    Example:
      foveate bundle keys --out maker.pem
    """
    public_path = out.with_suffix(".pub.pem")
    for path in (out, public_path):
        if path.exists():
            raise SettingsError(
                f"{path}: exists, and a key is never overwritten; choose another --out"
            )
    private, public = new_pair(_password(confirm=True) if encrypt else None)
    _write_new(out, private, 0o600)
    _write_new(public_path, public, 0o666)  # less the umask
    name = fingerprint(public_key(public))
    click.echo(one_line(f"{out} is private; {public_path} goes to the devices. Key {name[:SHOWN]}"))


@bundle.command(short_help="Sign a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), required=True, help="Private key, PEM.")
def sign(bundle: Path, key: Path) -> None:
    """Sign BUNDLE with a private key, after checking every file of it.

    \b
    Example:
      foveate bundle sign lung.bundle --key maker.pem
    """
    pem = key.read_bytes()
    secret = private_key(pem, _password(confirm=False) if is_encrypted(pem) else None)
    made = sign_bundle(open_bundle(bundle), secret)
    click.echo(one_line(f"{bundle}: signed with the key {made.key[:SHOWN]}"))


@bundle.command("verify-signature", short_help="Check who signed a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", "keys", type=click.Path(path_type=Path), required=True, multiple=True,
    help="Public key, PEM; may be given several times.",
)  # fmt: skip
def verify_signature(bundle: Path, keys: tuple[Path, ...]) -> None:
    """Check that one of the public keys signed BUNDLE, and every file of it.

    \b
    Example:
      foveate bundle verify-signature lung.foveate --key maker.pub.pem
    """
    opened = open_bundle(bundle, [key.read_bytes() for key in keys])
    count = len(check_bundle(opened))
    assert opened.signature is not None
    said = f"signed with the key {opened.signature.key[:SHOWN]}, all {count} files as they were"
    click.echo(one_line(f"{bundle}: {said}"))


def _password(confirm: bool) -> bytes:
    """Return the password of the environment, or the one typed."""
    given = os.environ.get(PASSWORD)
    try:
        given = given or click.prompt("Password", hide_input=True, confirmation_prompt=confirm)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise SettingsError(
            f"the key is encrypted and no terminal is attached; set {PASSWORD}"
        ) from None
    return str(given).encode()


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
