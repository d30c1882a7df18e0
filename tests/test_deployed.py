"""What lm.bundle writes, as a stranger meets it: behind servers, damaged, replaced, and as text."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rie
from parts import dense, rows

import lamda as lm
import serve
from serve.errors import BundleError, RequestError

f, g = dense(4, 8, 0, "f"), dense(8, 2, 1, "g")
model = lm.fine_tune_head(f >> lm.lift(jnp.tanh), g)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def body(x):
    return json.dumps(x.tolist()).encode()


def moved(m):
    return lm.succ(m, jax.tree.map(lambda w: w + 1, m.weights))


def flip(directory: Path) -> Path:
    """Change one bit of the last pack, of the same size as before."""
    pack = sorted((directory / "weights").iterdir())[-1]
    data = bytearray(pack.read_bytes())
    data[0] ^= 1
    pack.write_bytes(data)
    return pack


@pytest.mark.parametrize("way", ["executable", "jax"])
def test_a_flipped_bit_in_the_weights_is_found_when_loading(tmp_path, way, monkeypatch):
    if way == "jax":
        monkeypatch.setattr("serve.runtime.plugins.KNOWN", {})
    lm.bundle(model, tmp_path, batch=1)
    handler = serve.load(tmp_path)
    assert handler.engine.way == way
    assert handler(body(rows(1, 4)))
    pack = flip(tmp_path)
    with pytest.raises(BundleError) as error:
        serve.load(tmp_path)
    assert str(error.value).startswith(f"{pack} should have the digest sha256:{pack.stem}, found ")
    assert str(error.value).endswith("Copy the bundle again: it was cut short or changed after it "
                                     "was written.")  # fmt: skip


def test_what_is_damaged_is_written_again(tmp_path):
    first = lm.bundle(model, tmp_path, batch=1)
    damaged = flip(tmp_path)
    (executable,) = (tmp_path / "executables").iterdir()
    executable.write_bytes(executable.read_bytes()[:-1])
    second = lm.bundle(model, tmp_path, batch=1)
    assert second.compiled == 1
    assert damaged.stat().st_size < second.added < first.added
    assert serve.load(tmp_path).engine.way == "executable"
    third = lm.bundle(model, tmp_path, batch=1)
    assert (third.compiled, third.added) == (0, 0)


def test_weights_are_hashed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))
    lm.bundle(model, tmp_path / "bundle", batch=1)
    serve.load(tmp_path / "bundle")
    memory = json.loads((tmp_path / "cache" / "digests.json").read_text())
    packs = {str(p) for p in (tmp_path / "bundle" / "weights").iterdir()}
    assert packs <= set(memory)
    for pack in packs:
        memory[pack][-1] = "sha256:" + "0" * 64
    (tmp_path / "cache" / "digests.json").write_text(json.dumps(memory))
    monkeypatch.setattr("serve.runtime.digests._seen", {})  # as in another process
    with pytest.raises(BundleError, match="found sha256:000"):  # believed, not read
        serve.load(tmp_path / "bundle")
    monkeypatch.setenv("LAMDA_CACHE", "/proc/nowhere")
    assert serve.load(tmp_path / "bundle")(body(rows(1, 4)))


def test_a_process_keeps_its_version_when_the_directory_has_another(tmp_path):
    lm.bundle(model, tmp_path, batch=(1, 4))
    old = serve.load(tmp_path)
    lm.bundle(moved(model), tmp_path, batch=(1, 4))
    new = serve.load(tmp_path)
    for count in (1, 3):  # of programs that were not loaded before
        x = rows(count, 4)
        np.testing.assert_allclose(json.loads(old(body(x))), model(x), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(json.loads(new(body(x))), moved(model)(x), rtol=1e-5, atol=1e-6)
    assert (old("who"), new("who"), new("pred")) == (
        model.address, moved(model).address, model.address,
    )  # fmt: skip


def test_a_bundle_behind_the_emulator_of_aws_lambda(tmp_path):
    lm.bundle(model, tmp_path, batch=(1, 4))
    x = rows(3, 4)
    with rie.running(sys.executable, "-m", "serve.aws", str(tmp_path)) as function:
        answer = json.loads(function(body(x)))
        refused = json.loads(function(b"[[1]]"))
    np.testing.assert_allclose(answer, model(x), rtol=1e-5, atol=1e-6)
    assert refused["errorType"] == "RequestError"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    type = {"ids": "int32[b, t]", "mask": "int32[b, t]"}
    counts = lm.lift(lambda x: (x["ids"] * x["mask"]).sum(axis=1), input=type, name="counts")
    directory = tmp_path_factory.mktemp("texts")
    lm.bundle(counts, directory, batch=(1, 64), t=8, tokenizer=made.to_str().encode())
    return serve.load(directory)


def ask(handler, text):
    return json.loads(handler(json.dumps({"text": text}).encode()))


def test_texts_of_every_kind(texts):
    assert ask(texts, "a b") == [3]
    assert ask(texts, ["a", "", "a é 🜁 b", "  \n"]) == [1, 0, 3, 0]
    assert ask(texts, "") == [0]
    assert ask(texts, "b " * 100_000) == [16]  # cut to the largest size
    assert ask(texts, ["a b", "b"] * 5_000) == [3, 2] * 5_000
    assert texts("é a".encode(), "text/plain") == b"[1]"
    for text, message in [
        ([], 'input["text"]: expected from 1 to 65536 texts, got a list of 0'),
        ("\ud800", 'input["text"]: expected Unicode text, got half of a surrogate pair'),
        (["a", "\udfff"], 'input["text"][1]: expected Unicode text, got half of a surrogate pair'),
        (["a", 3], 'input["text"][1]: expected a text, got 3'),
    ]:
        with pytest.raises(RequestError) as error:
            ask(texts, text)
        assert str(error.value) == message


def test_requests_on_one_connection_are_answered_in_order(tmp_path):
    lm.bundle(model, tmp_path, batch=1, name="naïve 🜁")
    command = [sys.executable, "-m", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
        x = body(rows(1, 4))
        post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (len(x), x)
        last = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" + post + post + last)
            said = b""
            while part := connection.recv(1 << 16):
                said += part
        server.terminate()
    assert said.count(b"HTTP/1.1 200 OK") == 4
    assert said.endswith(b'{"status": "ok"}')
    answer = json.dumps(np.asarray(model(rows(1, 4))).tolist())[:6].encode()
    assert said.count(b"\r\n\r\n" + answer) == 2
