"""Weights are maps of the packs: shared, read-only, and opened in no time."""

from __future__ import annotations

import os
from typing import Any

import make
import pytest

from serve import bundle
from serve.runtime import engine, weights
from serve.runtime.client import Client

# Opens weights of 1 GiB, hashed before, and reads a tensor back through its buffer.
OPEN = """
import ctypes, json, sys, time
from serve import bundle
from serve.runtime import plugins
from serve.runtime.client import Client
from serve.runtime.weights import Weights

def anonymous():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0])

read = bundle.read(sys.argv[1])
client = Client(plugins.find().path)
Weights(client, read).close()  # hashes, where that was not done before
seconds, grown = [], []
for _ in range(9):
    before, start = anonymous(), time.perf_counter()
    opened = Weights(client, read)
    seconds.append(time.perf_counter() - start)
    grown.append(anonymous() - before)
    last = ctypes.string_at(client.address(opened.buffers[-1]), 8)
    notes = opened.notes
    opened.close()
print(json.dumps({"ms": min(seconds) * 1e3, "KiB": max(grown), "last": last.hex(),
                  "notes": notes, "files": len(read.packs)}))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))


def sparse(directory: str, size: int, count: int) -> None:
    """Give a bundle a pack of `count` tensors of `size` bytes, which takes no room on the disk."""
    manifest = make.read(directory)
    path = os.path.join(directory, "weights", "sparse.bin")
    with open(path, "wb") as file:
        file.truncate(size * count)
        file.seek(size * (count - 1))
        file.write(b"the last")
    from serve.runtime import digests

    pack = {"path": "weights/sparse.bin", "digest": digests.digest(path), "size": size * count}
    tensors = [
        {"dtype": "uint8", "shape": [size], "pack": 0, "offset": at * size, "size": size}
        for at in range(count)
    ]
    manifest["weights"] = {"packs": [pack], "tensors": tensors}
    make.write(directory, manifest)


def test_a_gibibyte_is_opened_in_no_time_and_memory(tmp_path: Any) -> None:
    directory = make.dense(tmp_path / "dense", executables=False)
    sparse(directory, 64 << 20, 16)
    found = make.python(OPEN, directory)
    assert found["notes"] == [] and bytes.fromhex(found["last"]) == b"the last"
    assert found["ms"] < 5, found
    assert found["KiB"] < 1024, found  # of a million


def test_they_can_not_be_written(tmp_path: Any) -> None:
    """A stray write ends the process, rather than the truth of every answer after it."""
    script = """
import ctypes, json, os, sys
from serve.runtime.weights import Pack
pack = Pack(sys.argv[1])
child = os.fork()
if child == 0:
    ctypes.memset(pack.address, 1, 1)
    os._exit(0)
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
    path = tmp_path / "pack.bin"
    path.write_bytes(bytes(64))
    assert make.python(script, str(path)) == -11
    assert path.read_bytes() == bytes(64)


def test_a_copy_is_noted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA shares only what is at a multiple of 64 bytes: three tensors are moved from there."""
    directory = make.dense(tmp_path / "dense")
    read = bundle.read(directory)
    manifest_offsets = [tensor["offset"] for tensor in read.tensors]
    mapped = weights.Pack.__init__

    def moved(pack: Any, path: str) -> None:
        mapped(pack, path)
        pack.address += 16

    made = engine.open(read)
    native: Any = made._runner
    client: Client = native.client
    assert weights.Weights(client, read).notes == []
    assert manifest_offsets[:2] == [0, 64]
    monkeypatch.setattr(weights.Pack, "__init__", moved)
    copied = weights.Weights(client, read)
    assert copied.notes == [
        f"{client.api.path} copied 36 bytes of weights that it was to share with their files, "
        "those of the tensors 0, 1, 2: every process has its own copy."
    ]
    made.close()


def test_nothing_is_kept_of_what_could_not_be_opened(tmp_path: Any) -> None:
    directory = make.dense(tmp_path / "dense")
    made = engine.open(bundle.read(directory))
    native: Any = made._runner
    read = bundle.read(directory)
    path = os.path.join(directory, read.packs[0]["path"])
    with open(path, "r+b") as file:
        file.write(b"\xff")
    with pytest.raises(bundle.BundleError, match="should have the digest"):
        weights.Weights(native.client, read)
    made.close()
    with open("/proc/self/maps") as file:
        assert path not in file.read()
