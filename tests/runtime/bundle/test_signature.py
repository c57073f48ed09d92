"""A device takes its maker's bundles and no other's; every refusal says why."""

from __future__ import annotations

import base64
import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from foveate.runtime.auto.choose import Choice
from foveate.runtime.bundle.bundle import file_sha256, open_bundle
from foveate.runtime.bundle.pack import pack
from foveate.runtime.bundle.signing import new_pair, private_key, public_key
from foveate.runtime.cascade.cascade import Cascade
from foveate.runtime.errors import BundleError, SettingsError
from foveate.runtime.io.output_settings import OutputSettings
from foveate.runtime.segment.concurrency import Concurrency
from foveate.runtime.segment.ray.actor import ActorJob, _worker
from tests.bad.bundles import change_graph, sign
from tests.conftest import DEMO, run


@pytest.fixture
def maker(tmp_path: Path) -> Path:
    """The maker's private key; the public one is next to it."""
    assert run("bundle", "keys", "--out", tmp_path / "maker.pem").exit_code == 0
    return tmp_path / "maker.pem"


@pytest.fixture
def signed(maker: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(DEMO, tmp_path / "signed.bundle"))
    result = run("bundle", "sign", folder, "--key", maker)
    assert result.exit_code == 0, result.exception
    return folder


def public(key: Path) -> bytes:
    return key.with_suffix(".pub.pem").read_bytes()


def test_a_signed_bundle_is_taken_folder_or_file(
    signed: Path, maker: Path, data: Path, tmp_path: Path
) -> None:
    pack(open_bundle(signed), tmp_path / "a.foveate")
    image, key = min((data / "images").iterdir()), maker.with_suffix(".pub.pem")
    masks = []
    for number, path in enumerate((signed, tmp_path / "a.foveate")):
        with Cascade.load(path, threads=1, trusted=[new_pair(None)[1], public(maker)]):
            pass
        out = tmp_path / str(number)
        assert run("segment", path, image, "--out", out, "--trust", key).exit_code == 0
        masks.append((out / f"{image.stem}.png").read_bytes())
        said = run("bundle", "verify-signature", path, "--key", key)
        assert "all 3 files as they were" in said.output
    assert masks[0] == masks[1]


def test_a_packed_bundle_is_signed_where_it_lies(signed: Path, maker: Path, tmp_path: Path) -> None:
    pack(open_bundle(DEMO), tmp_path / "b.foveate")
    assert run("bundle", "sign", tmp_path / "b.foveate", "--key", maker).exit_code == 0
    pack(open_bundle(signed), tmp_path / "a.foveate")
    assert (tmp_path / "a.foveate").read_bytes() == (tmp_path / "b.foveate").read_bytes()


def test_without_trust_any_is_taken_and_with_no_key_none(signed: Path) -> None:
    for path in (signed, DEMO):
        with Cascade.load(path, threads=1):
            pass
    with pytest.raises(SettingsError, match="the list of trusted keys is empty"):
        Cascade.load(signed, trusted=[])


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def of_another_bundle(folder: Path, key: Path) -> None:
    """Take the signature of a bundle that the same key signed."""
    other = Path(shutil.copytree(folder, folder.with_name("other")))
    sign(other, lambda manifest: manifest["data"].update(name="other"))
    assert run("bundle", "sign", other, "--key", key).exit_code == 0
    shutil.copy(other / "signature.json", folder)


def changed_with_all_hashes_right(folder: Path, key: Path) -> None:
    change_graph(folder, lambda model: model.graph.node[0].__setattr__("name", "other"))
    edit(folder / "signature.json", manifest=file_sha256(folder / "manifest.json"))


def white_space_of_the_manifest(folder: Path, key: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text() + " ")


def signature(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], object]:
    """Return a tamper with the bytes of the signature, in sound base64."""

    def tamper(folder: Path, key: Path) -> None:
        path = folder / "signature.json"
        content = base64.b64decode(json.loads(path.read_text())["signature"])
        edit(path, signature=base64.b64encode(change(content)).decode())

    return tamper


TAMPERS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "of another bundle": (of_another_bundle, "not the one that was signed"),
    "all hashes right": (changed_with_all_hashes_right, "was damaged or forged"),
    "white space": (white_space_of_the_manifest, "not the one that was signed"),
    "one bit": (signature(lambda old: bytes([old[0] ^ 1]) + old[1:]), "was damaged or forged"),
    "longer": (signature(lambda old: old + b"x"), "was damaged or forged"),
    "shorter": (signature(lambda old: old[:-1]), "was damaged or forged"),
    "empty": (signature(lambda old: b""), "was damaged or forged"),
    "no base64": (lambda folder, key: edit(folder / "signature.json", signature="!"), "not base64"),
    "no text": (lambda folder, key: edit(folder / "signature.json", key=[]), "signature.json: key"),
    "another schema": (lambda folder, key: edit(folder / "signature.json", schema=2), "schema 2"),
    "another key's name": (
        lambda folder, key: edit(folder / "signature.json", key="0" * 64),
        "is not trusted",
    ),
}


@pytest.mark.parametrize("kind", TAMPERS)
def test_a_tamper_with_what_was_signed(signed: Path, maker: Path, kind: str) -> None:
    tamper, words = TAMPERS[kind]
    tamper(signed, maker)
    with pytest.raises(BundleError, match=words):
        Cascade.load(signed, trusted=[public(maker)])


def test_a_service_takes_its_makers_bundle_only(signed: Path, maker: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pub.pem"
    other.write_bytes(new_pair(None)[1])
    result = run("serve", signed, "--port", 0, "--trust", other)
    assert isinstance(result.exception, BundleError)
    assert "which is not trusted" in str(result.exception)


def test_an_actor_of_ray_checks_it_too(signed: Path, maker: Path, tmp_path: Path) -> None:
    plan, outputs = Concurrency(1, 1, 1), OutputSettings("png", False, False)
    choice = Choice("onnxruntime", "fp32", "asked for")
    job = ActorJob(signed, choice, tmp_path, outputs, plan, "", (new_pair(None)[1],))
    with pytest.raises(BundleError, match="is not trusted"):
        _worker(job)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_openssl_checks_it_and_its_keys_sign(signed: Path, maker: Path, tmp_path: Path) -> None:
    def openssl(*arguments: object) -> bytes:
        command = ["openssl", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    values = json.loads((signed / "signature.json").read_text())
    (tmp_path / "raw").write_bytes(base64.b64decode(values["signature"]))
    said = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", maker.with_suffix(".pub.pem"), "-rawin",
        "-in", signed / "manifest.json", "-sigfile", tmp_path / "raw",
    )  # fmt: skip
    assert b"Verified Successfully" in said
    der = openssl("pkey", "-pubin", "-in", maker.with_suffix(".pub.pem"), "-outform", "DER")
    assert sha256(der).hexdigest() == values["key"]
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "o.pem")
    openssl("pkey", "-in", tmp_path / "o.pem", "-pubout", "-out", tmp_path / "o.pub.pem")
    assert run("bundle", "sign", signed, "--key", tmp_path / "o.pem").exit_code == 0
    open_bundle(signed, [(tmp_path / "o.pub.pem").read_bytes()])


def test_keys_are_private_and_never_written_over(maker: Path) -> None:
    before = maker.read_bytes()
    assert stat.S_IMODE(maker.stat().st_mode) == 0o600
    assert "a key is never overwritten" in str(run("bundle", "keys", "--out", maker).exception)
    maker.rename(maker.with_name("moved.pem"))
    assert "a key is never overwritten" in str(run("bundle", "keys", "--out", maker).exception)
    assert not maker.exists() and maker.with_name("moved.pem").read_bytes() == before


def test_an_encrypted_key_wants_its_password(
    tmp_path: Path, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "sealed.pem"
    monkeypatch.setenv("FOVEATE_KEY_PASSWORD", "open sesame")
    assert run("bundle", "keys", "--out", key, "--encrypt").exit_code == 0
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    monkeypatch.setenv("FOVEATE_KEY_PASSWORD", "open barley")
    assert "a different password" in str(run("bundle", "sign", signed, "--key", key).exception)
    monkeypatch.setenv("FOVEATE_KEY_PASSWORD", "open sesame")
    assert run("bundle", "sign", signed, "--key", key).exit_code == 0
    open_bundle(signed, [public(key)])
    monkeypatch.delenv("FOVEATE_KEY_PASSWORD")
    told = str(run("bundle", "sign", signed, "--key", key).exception)  # there is no terminal
    assert "no terminal is attached; set FOVEATE_KEY_PASSWORD" in told


def test_keys_of_another_kind() -> None:
    key = rsa.generate_private_key(65537, 1024)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for read, pem in ((private_key, secret), (public_key, shown)):
        with pytest.raises(SettingsError, match="not an Ed25519 key"):
            read(pem)
    with pytest.raises(SettingsError, match="a private key was given"):
        public_key(secret)
    with pytest.raises(SettingsError, match="not in PEM"):
        public_key(b"ssh-ed25519 AAAA")


def test_without_cryptography_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "cryptography.hazmat.primitives.serialization"
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(SettingsError, match=r"pip install 'foveate\[sign\]'"):
        new_pair(None)


def test_a_damaged_bundle_is_not_signed(tmp_path: Path, maker: Path) -> None:
    folder = Path(shutil.copytree(DEMO, tmp_path / "damaged"))
    (folder / "preview.png").write_bytes(b"")
    assert "preview.png: does not match" in str(
        run("bundle", "sign", folder, "--key", maker).exception
    )
    assert not (folder / "signature.json").exists()
