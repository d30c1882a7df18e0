"""Bundles that have to be signed: what is served then, and what is refused before it is read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import make
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

import serve
from lamda import sign
from lamda.compile import signing
from serve import bundle
from serve.bundle import keys
from serve.errors import SignatureError

REQUEST = b"[[1, 2, 3]]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys `a` and `b`, and a bundle `out` that `a` signed."""
    path = tmp_path_factory.mktemp("signed")
    for name in "ab":
        sign.keygen(path / name)
    make.add_one(path / "out")
    signing.sign_bundle(path / "out", path / "a.key")
    return path


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder / "out", target / "out"))


def refused(directory: Path, *trusted: Any) -> str:
    with pytest.raises(SignatureError) as caught:
        serve.load(directory, trusted=trusted)
    return str(caught.value)


def run(*arguments: Any, **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "serve", *map(str, arguments), "--request", "-"]
    return subprocess.run(
        command, input=REQUEST, capture_output=True, env=os.environ | env, cwd=make.ROOT
    )


def test_a_signed_bundle_is_served(folder: Path) -> None:
    for trusted in ([folder / "a.pub"], [folder / "b.pub", (folder / "a.pub").read_bytes()]):
        assert serve.load(folder / "out", trusted=trusted)(REQUEST) == b"[[2,3,4]]"
    assert serve.load(folder / "out")(REQUEST) == b"[[2,3,4]]"


def test_who_signs_is_asked_first(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path)
    expected, found = (keys.read(folder / f"{name}.pub").keyid for name in "ba")
    assert refused(out, folder / "b.pub") == (
        f"{out} is signed by other keys than those trusted: expected {expected}, found {found}. "
        "Do not use it before you know whose key that is; then trust it by name."
    )
    manifest = out / "manifest.json"
    manifest.write_bytes(b"[" * 100_000)  # nothing of it is read before it is known whose it is
    assert f"the signature of {out} is of another one" in refused(out, folder / "a.pub")
    (out / "manifest.json.dsse").unlink()
    assert refused(out, folder / "a.pub") == (
        f"{out} is not signed, and a signature is required. Sign it with lamda sign, or with lamda "
        "bundle --sign, or require no key."
    )


def test_every_byte_of_the_manifest_is_signed(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path)
    manifest = out / "manifest.json"
    good = manifest.read_bytes()
    for place in range(0, len(good), 97):
        manifest.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert "is of another one" in refused(out, folder / "a.pub")
    manifest.write_bytes(good + b" ")
    assert "is of another one" in refused(out, folder / "a.pub")


def test_a_cut_or_changed_envelope_is_refused(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path)
    file = out / "manifest.json.dsse"
    good = file.read_bytes()
    for length in range(0, len(good.rstrip()), 101):
        file.write_bytes(good[:length])
        assert "can not be read" in refused(out, folder / "a.pub") or not length
    for place in range(0, len(good.rstrip()), 41):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        try:
            serve.load(out, trusted=[folder / "a.pub"])
        except SignatureError:
            continue
        hint = good.index(b'"keyid"'), good.index(b'"sig"')
        assert hint[0] <= place < hint[1]  # a keyid is a hint, and no part of what is signed


def test_files_are_what_the_signed_manifest_says(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path)
    for file in (out / "programs").iterdir():
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    read = bundle.read(str(out), keys.trusted([folder / "a.pub"]))
    with pytest.raises(serve.BundleError, match="should have the digest"):
        read.verify()


def test_signatures_that_can_not_be_read(folder: Path, tmp_path: Path) -> None:
    out = copied(folder, tmp_path)
    (out / "manifest.json.dsse").unlink()
    (out / "manifest.json.dsse").mkdir()
    assert refused(out, folder / "a.pub") == (
        f"the signature of {out} can not be read: manifest.json.dsse: Is a directory. Copy it "
        "again, or sign with lamda sign."
    )


def test_wrong_keys(folder: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    assert refused(folder / "out", pem) == (
        "the key given should be an ed25519 public key in PEM form, found a key of another "
        "algorithm (ECPublicKey). lamda keygen writes one, NAME.pub beside NAME.key."
    )
    assert "found a private key" in refused(folder / "out", folder / "a.key")
    assert refused(folder / "out", tmp_path / "none") == (
        f"the key {tmp_path}/none can not be read: No such file or directory. Give the path of a "
        "PEM file."
    )
    assert refused(folder / "out") == (
        "a signature is required and no key is trusted: name a PEM file in LAMDA_REQUIRE_KEY, or "
        "unset it"
    )


def test_the_command_and_the_environment(folder: Path) -> None:
    out, a, b = folder / "out", folder / "a.pub", folder / "b.pub"
    done = run(out, "--require-key", b, "--require-key", a)
    assert (done.returncode, done.stdout) == (0, b"[[2,3,4]]\n"), done.stderr
    done = run(out, "--require-key", b)
    assert done.returncode == 1 and done.stdout == b""
    assert b"is signed by other keys" in done.stderr
    assert run(out, LAMDA_REQUIRE_KEY=f"{b}{os.pathsep}{a}").stdout == b"[[2,3,4]]\n"
    assert b"is signed by other keys" in run(out, LAMDA_REQUIRE_KEY=str(b)).stderr
    assert b"no key is trusted" in run(out, LAMDA_REQUIRE_KEY="").stderr


def test_every_platform_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serve import http as web
    from serve.aws import start

    monkeypatch.setenv("LAMDA_BUNDLE", str(folder / "out"))
    monkeypatch.setenv("LAMDA_REQUIRE_KEY", str(folder / "b.pub"))
    for load in (start.load, lambda: web.__getattr__("app")):
        with pytest.raises(SignatureError, match="is signed by other keys"):
            load()


COST = """
import sys, serve
assert serve.load(sys.argv[1])(b"[[1, 2, 3]]") == b"[[2,3,4]]"
signing = {f"serve.bundle.{name}" for name in ("keys", "dsse", "signed")}
print(*sorted(({"cryptography"} | signing) & {*sys.modules}))
"""


def test_where_no_key_is_required_nothing_is_paid(folder: Path) -> None:
    command = [sys.executable, "-c", COST, str(folder / "out")]
    env = {k: v for k, v in os.environ.items() if k != keys.REQUIRED}
    done = subprocess.run(command, capture_output=True, text=True, cwd=make.ROOT, env=env)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


def test_without_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert refused(folder / "out", folder / "a.pub") == (
        "signatures need the package cryptography: pip install 'lamda[sign]'"
    )
    assert serve.load(folder / "out")(REQUEST) == b"[[2,3,4]]"
