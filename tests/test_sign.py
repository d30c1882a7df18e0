"""Signatures: what holds, and everything that is refused; against other implementations."""

import base64
import json
import os
import stat
import subprocess
import sys
from typing import Any

import jax
import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from parts import dense, rows
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey  # pyright: ignore[reportPrivateImportUsage]

import lamda as lm
import serve
from lamda import cli, sign
from lamda.compile import signing
from serve.bundle import dsse, keys, signed
from serve.errors import SignatureError

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
PEM, PKCS8, OPEN = form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
SPKI = form.PublicFormat.SubjectPublicKeyInfo


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two keys, ``a`` and ``b``: their paths without suffix."""
    folder = tmp_path_factory.mktemp("keys")
    for name in "ab":
        sign.keygen(folder / name)
    return folder


@pytest.fixture
def store(tmp_path):
    store = lm.Store(tmp_path / "store")
    store.put(f >> g, ref="m")
    return store


def refused(call, error=lm.StoreError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# --- keys ---


def test_a_key_is_for_its_owner_alone_and_never_overwritten(tmp_path):
    keyid = sign.keygen(tmp_path / "k")
    assert stat.S_IMODE((tmp_path / "k.key").stat().st_mode) == 0o600
    assert keys.read(tmp_path / "k.pub").keyid == keyid
    before = (tmp_path / "k.key").read_bytes()
    assert refused(lambda: sign.keygen(tmp_path / "k"), lm.SpecError) == (
        f"{tmp_path}/k.key is there already, and a key is never overwritten: give another name"
    )
    assert (tmp_path / "k.key").read_bytes() == before


def test_a_key_that_can_not_be_written_whole_leaves_nothing(tmp_path):
    limited = (
        "import resource, sys; from lamda import sign; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)); sign.keygen(sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", limited, tmp_path / "k"], capture_output=True)
    assert b"OSError: [Errno 27] File too large" in done.stderr
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "k.pub").symlink_to(tmp_path / "nothing")
    assert "k.pub is there already" in refused(lambda: sign.keygen(tmp_path / "k"), lm.SpecError)


def test_a_keyid_is_what_openssl_says(pairs):
    command = f"openssl pkey -pubin -in {pairs}/a.pub -outform DER | sha256sum"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode or not done.stdout or "not found" in done.stderr:
        pytest.skip(f"openssl is not here: {done.stderr}")
    assert done.stdout.split()[0] == keys.read(pairs / "a.pub").keyid


def test_wrong_private_keys(store, pairs, tmp_path):
    other = ec.generate_private_key(ec.SECP256R1())
    locked = ed25519.Ed25519PrivateKey.generate()
    files = {
        "ec": other.private_bytes(PEM, PKCS8, OPEN),
        "locked": locked.private_bytes(PEM, PKCS8, form.BestAvailableEncryption(b"x")),
        "cut": (pairs / "a.key").read_bytes()[:60],
        "public": (pairs / "a.pub").read_bytes(),
    }
    found = {
        "ec": "a key of another algorithm (ECPrivateKey)",
        "locked": "one that is encrypted with a password",
        "cut": "something else",
        "public": "a public key",
    }
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert refused(lambda path=path: store.sign("m", path), lm.SpecError) == (
            f"{path} should be an ed25519 private key in PEM form, found {found[name]}. lamda "
            "keygen NAME writes one, NAME.key."
        )
    assert refused(lambda: store.sign("m", tmp_path / "none"), lm.MissingError) == (
        f"the key {tmp_path}/none can not be read: No such file or directory. lamda keygen NAME "
        "writes NAME.key."
    )
    assert store.signatures.manifest(store.find("m")) is None


def test_wrong_public_keys(store, pairs, tmp_path):
    store.sign("m", pairs / "a.key")
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "ec").write_bytes(other.public_bytes(PEM, SPKI))
    (tmp_path / "cut").write_bytes((pairs / "a.pub").read_bytes()[:50])
    (tmp_path / "two").write_bytes(b"".join((pairs / f"{n}.pub").read_bytes() for n in "ba"))
    for path, found in (
        (tmp_path / "two", "several keys in one"),
        (tmp_path / "ec", "a key of another algorithm (ECPublicKey)"),
        (tmp_path / "cut", "something else"),
        (pairs / "a.key", "a private key"),
    ):
        assert refused(lambda path=path: store.signed("m", path)) == (
            f"{path} should be an ed25519 public key in PEM form, found {found}. lamda keygen "
            "writes one, NAME.pub beside NAME.key."
        )
    assert refused(lambda: store.signed("m", tmp_path / "none")) == (
        f"the key {tmp_path}/none can not be read: No such file or directory. Give the path of a "
        "PEM file."
    )
    for nothing in ([], None):
        assert "no key is trusted" in refused(lambda: store.signed("m", nothing))  # noqa: B023


def test_without_the_package(store, pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    said = refused(lambda: store.sign("m", pairs / "a.key"), lm.SpecError)
    assert said == "this needs cryptography: pip install 'lamda[sign]'"
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    said = refused(lambda: store.signed("m", pairs / "a.pub"))
    assert said == "signatures need the package cryptography: pip install 'lamda[sign]'"


# --- other implementations ---

RFC8032 = [  # section 7.1: secret key, public key, message, signature
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b"
     "46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11"
     "d8c387b2eaeb4302aeeb00d291612bb0c00"),
]  # fmt: skip


@pytest.mark.parametrize("vector", RFC8032)
def test_the_vectors_of_rfc_8032(vector):
    secret, public, message, signature = map(bytes.fromhex, vector)
    made = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    key = keys.read(ed25519.Ed25519PublicKey.from_public_bytes(public).public_bytes(PEM, SPKI))
    assert made.sign(message) == signature and key.holds(signature, message)
    assert not key.holds(signature, message + b"x")
    assert not key.holds(signature[:-1], message)
    assert not key.holds(signature[:-1] + bytes([signature[-1] ^ 1]), message)


def test_securesystemslib_reads_our_envelope(pairs):
    keyid, data = sign.envelope(b'{"a":1}', pairs / "a.key")
    envelope = Envelope.from_dict(json.loads(data))
    assert envelope.pae() == dsse.pae(dsse.INTOTO, b'{"a":1}')
    theirs = SSlibKey.from_crypto(
        form.load_pem_public_key((pairs / "a.pub").read_bytes()), keyid=keyid
    )
    assert list(envelope.verify([theirs], 1)) == [keyid]


def test_we_read_an_envelope_of_securesystemslib(pairs):
    private = form.load_pem_private_key((pairs / "a.key").read_bytes(), None)
    envelope = Envelope(b'{"a":1}', dsse.INTOTO, {})
    envelope.sign(CryptoSigner(private))  # whose keyid is another: it is a hint
    data = json.dumps(envelope.to_dict()).encode()
    assert dsse.opened(data, [keys.read(pairs / "a.pub")], "it") == b'{"a":1}'
    with pytest.raises(SignatureError, match="is signed by other keys"):
        dsse.opened(data, [keys.read(pairs / "b.pub")], "it")


# --- versions ---


def test_a_version_is_signed(store, pairs):
    keyid = store.sign("m", pairs / "a.key")
    assert keyid == keys.read(pairs / "a.pub").keyid
    found = lm.Store.open(store.path).signed("m", pairs / "a.pub")
    assert found["subject"] == [{"name": "m", "digest": {"sha256": store.find("m")[7:]}}]
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    predicate = found["predicate"]
    assert predicate["address"] == (f >> g).address
    assert predicate["programs"] == [fn["program"] for fn in store.record("m")["functions"]]
    assert predicate["jax"] == jax.__version__ and predicate["pred"] is None
    assert store.signed(store.find("m"), [pairs / "b.pub", (pairs / "a.pub").read_bytes()])


def test_a_signature_tells_of_data_receipt_and_predecessor(store, pairs):
    import optax

    start = store.get("m")
    fitted = lm.fit(start, (rows(8, 4), rows(8, 2)), steps=2, batch=4, progress=False,
                    loss=lambda y, t: ((y - t) ** 2).sum(-1), optimizer=optax.sgd(0.1),
                    key=jax.random.key(0))  # fmt: skip
    before = store.find("m")
    store.put(fitted, ref="m")
    store.sign("m", pairs / "a.key")
    predicate = store.signed("m", pairs / "a.pub")["predicate"]
    assert predicate["pred"] == {"address": start.address, "manifest": before}
    assert predicate["data"] == predicate["receipt"]["data"] == fitted.receipt.data
    assert refused(lambda: store.signed(before, pairs / "a.pub")).startswith(
        f"{before} is not signed, and a signature is required."
    )


def test_several_keys_sign_and_again_changes_nothing(store, pairs):
    for name in "aba":
        store.sign("m", pairs / f"{name}.key")
    version = store.find("m")
    manifest = store.signatures.manifest(version)
    assert len(store.signatures.envelopes(version)) == 2
    assert store.signed("m", pairs / "a.pub") == store.signed("m", pairs / "b.pub")
    store.sign("m", pairs / "b.key")
    assert store.signatures.manifest(version) == manifest


def test_signatures_are_part_of_what_a_version_needs(store, pairs, tmp_path):
    store.sign("m", pairs / "a.key")
    version = store.find("m")
    manifest = store.signatures.manifest(version)
    closure = store.closure(version)
    assert manifest in closure and len(closure) == len(lm.Store(store.path).closure(version))
    assert all(store.blobs.path(d).stat().st_size == size for d, size in closure.items())
    index = json.loads((store.path / "index.json").read_text())["manifests"]
    names = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index}
    assert names == {"m": version, f"sha256-{version[7:]}.att": manifest}
    assert set(store.refs()) == {"m"}
    store.gc(grace=0)
    assert store.signed("m", pairs / "a.pub") and store.verify().clean

    other = lm.Store(tmp_path / "other")  # the same bytes, signed by another key there
    other.put(store.get("m"), ref="m")
    other.sign("m", pairs / "b.key")
    for digest in closure:
        other.blobs.put([store.blobs.get(digest)])
    with other.writing():
        other.signatures.admit(version, manifest)
    assert other.signed("m", pairs / "a.pub") and other.signed("m", pairs / "b.pub")


def test_the_signatures_of_what_is_collected_go(store, pairs):
    store.sign("m", pairs / "a.key")
    version = store.find("m")
    store.remove("m")
    store.gc(grace=0)
    assert store.signatures.manifest(version) is None
    assert not [*store.blobs.directory.iterdir()]


# --- refusals ---


def vouched(directory, key) -> Any:
    return signing.vouched(directory, [key])


def envelope(payload, key, kind=dsse.INTOTO):
    private = form.load_pem_private_key(key.read_bytes(), None)
    keyid = keys.Key(private.public_key()).keyid
    value = json.loads(dsse.sealed(payload, [(keyid, private.sign(dsse.pae(kind, payload)))]))
    return value | {"payloadType": kind}


def changes(pairs):
    """An envelope that is wrong in one way, and what is said of it."""
    good = sign.statement("1" * 64, "it", {"address": "a"})
    value = envelope(good, pairs / "a.key")
    text = json.dumps(value)
    other = base64.b64encode(good.replace(b'"a"', b'"b"')).decode()
    body = json.loads(good)
    found = keys.read(pairs / "b.pub").keyid
    wanted = keys.read(pairs / "a.pub").keyid

    def said(payload):
        return json.dumps(envelope(json.dumps(payload).encode(), pairs / "a.key"))

    twice = good.replace(b'{"_type"', b'{"_type":"x","_type"', 1)
    unreadable = "the signature of it can not be read: "
    return {
        "good": (text, None),
        "another key": (json.dumps(envelope(good, pairs / "b.key")),
            f"it is signed by other keys than those trusted: expected {wanted}, found {found}. "
            "Do not use it before you know whose key that is; then trust it by name."),
        "a changed payload": (json.dumps(value | {"payload": other}),
            "the signature of it does not fit what it signs: one of them was changed. Do not use "
            "it; fetch it again from where it was signed."),
        "another payload type": (json.dumps(envelope(good, pairs / "a.key", "text/plain")),
            "what is signed of it should be of type application/vnd.in-toto+json, found "
            "'text/plain'. Sign it with lamda sign."),
        "a payload type that was swapped": (
            json.dumps(envelope(good, pairs / "a.key", "x/y") | {"payloadType": dsse.INTOTO}),
            "the signature of it does not fit what it signs"),
        "another subject": (said(body | {"subject": [{"digest": {"sha256": "2" * 64}}]}),
            f"the signature of it is of another one: expected sha256 {'1' * 64}, found "
            f"{'2' * 64}. Copy the signature that belongs to it, or sign it."),
        "no subject": (said(body | {"subject": "x"}), "is of another one"),
        "an odd subject": (said(body | {"subject": [1, {"digest": {"sha256": []}}]}),
            "found None, None"),
        "another predicate": (said(body | {"predicateType": "urn:failed:tests"}),
            "the signature of it should state https://in-toto.io/Statement/v1 with "
            "urn:lamda:provenance:v1, found ('https://in-toto.io/Statement/v1', "
            "'urn:failed:tests'). It was made for something else: sign it with lamda sign."),
        "no statement": (said([1]), "should state"),
        "two keys in the envelope": (text[:-1] + ', "payload": "eA=="}',
            unreadable + "it is no strict JSON: an object has the same key twice. Copy it again, "
            "or sign with lamda sign."),
        "two keys in the payload": (json.dumps(envelope(twice, pairs / "a.key")),
            unreadable + "it is no strict JSON: an object has the same key twice"),
        "cut short": (text[: len(text) // 2], unreadable + "it is no strict JSON"),
        "nothing": ("", unreadable + "it is no strict JSON"),
        "no object": ("[]", unreadable + "it is no object"),
        "no signatures": (json.dumps(value | {"signatures": []}),
            unreadable + "signatures is no list of 1 to 64"),
        "too many": (json.dumps(value | {"signatures": value["signatures"] * 65}),
            unreadable + "signatures is no list of 1 to 64"),
        "no base64": (json.dumps(value | {"payload": "%%"}), unreadable + "payload is no base64"),
        "no text": (json.dumps(value | {"payload": 5}), unreadable + "payload is no base64"),
        "an odd keyid": (json.dumps(value | {"signatures": [{"keyid": 1, "sig": ""}]}),
            unreadable + "a signature is no object with a text as keyid"),
        "a deep one": ("[" * 100_000, unreadable + "it is no strict JSON"),
        "a large one": (" " * (2 << 20), unreadable + "it has 2,097,152 bytes, more than"),
        "not a number": (text[:-1] + ', "x": NaN}', "NaN is no number"),
        "bytes": ("\udcff", unreadable + "it is no strict JSON"),
    }  # fmt: skip


def test_every_wrong_envelope_is_refused(pairs):
    trusted = [keys.read(pairs / "a.pub")]
    for name, (text, said) in changes(pairs).items():
        data = text.encode(errors="surrogateescape")
        if said is None:
            assert signed.require([data], "1" * 64, trusted, "it")
            continue
        told = refused(lambda d=data: signed.require([d], "1" * 64, trusted, "it"), SignatureError)
        assert said in told, name
        if said.endswith("."):
            assert said == told, name


def test_what_an_envelope_says_does_nothing_to_a_terminal(pairs):
    trusted = [keys.read(pairs / "a.pub")]
    value = envelope(b"{}", pairs / "b.key")
    value["signatures"][0]["keyid"] = "\x1b[2Jgood\ud800"
    data = json.dumps(value).encode()
    said = refused(lambda: dsse.opened(data, trusted, "it"), SignatureError)
    assert "found '\\x1b[2Jgood\\ud800'. Do not" in said
    data = json.dumps(value | {"payloadType": "x" * 100_000}).encode()
    said = refused(lambda: dsse.opened(data, trusted, "it"), SignatureError)
    assert len(said) < 300 and "found 'xxx" in said


def test_one_good_envelope_is_enough(pairs):
    trusted = [keys.read(pairs / "a.pub")]
    wrong = changes(pairs)
    bad = [wrong[name][0].encode() for name in ("another key", "cut short", "another subject")]
    assert signed.require([*bad, wrong["good"][0].encode()], "1" * 64, trusted, "it")
    said = refused(lambda: signed.require(bad, "1" * 64, trusted, "it"), SignatureError)
    assert "can not be read" in said  # and not that of a stranger's


def test_a_signature_of_another_version_does_not_count(store, pairs):
    store.put(f, ref="f")
    store.sign("f", pairs / "a.key")
    one, other = store.find("f"), store.find("m")
    manifest = store.signatures.manifest(one)
    (store.path / "signatures" / other[7:]).write_text(manifest)
    assert refused(lambda: store.signed("m", pairs / "a.pub")) == (
        f"the signature of m is of another one: expected sha256 {other[7:]}, found {one[7:]}. "
        "Copy the signature that belongs to it, or sign it."
    )


def test_a_statement_of_another_address_is_refused(store, pairs):
    version = store.find("m")
    payload = sign.statement(version, "m", {"address": f.address})
    store.signatures.add(version, [sign.envelope(payload, pairs / "a.key")[1]])
    assert refused(lambda: store.signed("m", pairs / "a.pub")) == (
        f"the signature of m states the address {f.address}, and it has {(f >> g).address}: "
        "whoever signed it made a mistake. Do not use it, and ask them."
    )


def test_damaged_signatures_are_told_and_harm_nothing(store, pairs):
    store.sign("m", pairs / "a.key")
    version = store.find("m")
    path = store.path / "signatures" / version[7:]
    path.write_text("../../etc/passwd")
    assert f"{path} is no ref: it holds '../../etc/passwd'" in refused(
        lambda: store.signed("m", pairs / "a.pub")
    )
    assert store.get("m").address == (f >> g).address
    store.put(f, ref="other")
    path.write_text(version)  # a manifest, and not one of signatures
    assert refused(lambda: store.signed("m", pairs / "a.pub"))
    path.unlink()
    assert "m is not signed" in refused(lambda: store.signed("m", pairs / "a.pub"))
    store.sign("m", pairs / "a.key")
    assert store.signed("m", pairs / "a.pub")


# --- the command, and bundles ---


def test_no_changed_file_of_a_signed_bundle_is_used(pairs, tmp_path):
    out = tmp_path / "out"
    lm.bundle(f >> g, out, batch=1, sign=pairs / "a.key")
    trusted = [pairs / "a.pub"]
    request = b"[[1, 2, 3, 4]]"
    good = serve.load(out, trusted=trusted)(request)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".dsse", ".mlir", ".pjrt", ".bin"}
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
        if path.suffix in (".mlir", ".pjrt"):  # one is enough, and the other is not used
            handler = serve.load(out, trusted=trusted)
            assert handler(request) == good
            assert (handler.engine.way == "executable") == (path.suffix == ".mlir")
        else:
            with pytest.raises(serve.BundleError, match=str(out)):
                serve.load(out, trusted=trusted)(request)
        with pytest.raises((lm.StoreError, serve.BundleError)):
            signing.vouched(out, trusted)
        path.write_bytes(data)
        assert serve.load(out, trusted=trusted)(request) == good


def lamda(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_command(store, pairs, tmp_path, capsys):
    address = (f >> g).address
    code, out, _ = lamda(capsys, "keygen", tmp_path / "c")
    keyid = keys.read(tmp_path / "c.pub").keyid
    assert (code, out) == (0, f"{keyid}  {tmp_path}/c.key and {tmp_path}/c.pub\n")
    at = ("--store", store.path)
    assert lamda(capsys, "sign", "m", "--key", tmp_path / "c.key", *at) == (
        0, f"{address}  signed by {keyid}\n", ""
    )  # fmt: skip
    verify = ("verify", "m", *at, "--key")
    assert lamda(capsys, *verify, tmp_path / "c.pub") == (0, f"{address}  signed and whole\n", "")
    code, out, _ = lamda(capsys, *verify, tmp_path / "c.pub", "--json")
    assert json.loads(out)["statement"]["predicate"]["address"] == address
    code, out, err = lamda(capsys, *verify, pairs / "a.pub")
    assert (code, out) == (1, "") and err.startswith("lamda: m is signed by other keys")
    assert lamda(capsys, "verify", "m", *at) == (0, f"{address}  whole\n", "")
    with pytest.raises(SystemExit):
        lamda(capsys, "verify", *at, "--key", pairs / "a.pub")
    assert "--key says who must have signed REF" in capsys.readouterr().err


def test_the_command_finds_a_changed_blob_under_a_good_signature(store, pairs, capsys):
    store.sign("m", pairs / "a.key")
    blob = store.record("m")["slots"][0]["tensors"][0]["blob"]
    path = store.blobs.path(blob)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    code, _, err = lamda(
        capsys, "verify", "m", "--store", store.path, "--key", pairs / "a.pub"
    )  # fmt: skip
    assert code == 1 and f"blob {blob}" in err and "damaged" in err


def test_a_bundle_is_signed_and_a_new_version_takes_its_place(pairs, tmp_path, capsys):
    directory = tmp_path / "out"
    one = lm.bundle(f, directory, batch=1, targets=(), sign=pairs / "a.key")
    assert one.address == f.address
    (line,) = (directory / "manifest.json.dsse").read_bytes().splitlines()
    assert vouched(directory, pairs / "a.pub")["predicate"]["address"] == f.address
    signing.sign_bundle(directory, pairs / "b.key")
    assert vouched(directory, pairs / "b.pub")
    assert line in signed.lines(str(directory)) and len(signed.lines(str(directory))) == 2

    new = lm.succ(f, jax.tree.map(lambda w: w + 1, f.weights))
    seen = []
    real = signing.write_file

    def watched(path, data):
        real(path, data)
        seen.append(vouched(directory, pairs / "a.pub"))  # before the manifest moves

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "write_file", watched)
        lm.bundle(new, directory, batch=1, targets=(), sign=[pairs / "a.key", pairs / "b.key"])
    assert seen[0]["predicate"]["address"] == f.address
    found = vouched(directory, pairs / "a.pub")
    assert found["predicate"]["address"] == new.address
    assert found["predicate"]["pred"] == f.address

    lm.bundle(f, directory, batch=1, targets=())  # not signed, but this manifest was
    assert vouched(directory, pairs / "a.pub")
    lm.bundle(g, directory, batch=1, targets=())
    assert lamda(capsys, "verify", directory) == (0, f"{g.address}  whole\n", "")
    code, _, err = lamda(capsys, "verify", directory, "--key", pairs / "a.pub")
    assert code == 1 and f"the signature of {directory} is of another one" in err
