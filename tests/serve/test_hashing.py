"""When the mapped files of a bundle are hashed: recorded, always, never."""

import os

import make
import numpy as np
import pytest

import serve
from serve.bundle import read
from serve.errors import BundleError, ServeError
from serve.runtime import digests


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_seen", {})
    weight = np.ones((4,), np.float32)
    return make.bundle(
        tmp_path / "bundle", lambda w, x: x + w[0], [weight], input=make.array("float32", 4),
        output=make.array("float32", 4), sizes={},
    )  # fmt: skip


def damage(directory):
    """Change a byte of the weights, and leave the times of the file as they were."""
    path = f"{directory}/{make.read(directory)['weights']['packs'][0]['path']}"
    with open(path, "r+b") as file:
        file.write(b"\xff")
    return path


def test_never_takes_the_size_for_enough(bundled, monkeypatch):
    damage(bundled)
    with pytest.raises(BundleError, match="should have the digest"):
        serve.load(bundled)
    whole = digests.digest
    monkeypatch.setattr(digests, "digest", lambda path, **more: (seen.append(path), whole(path))[1])
    seen = []
    serve.load(bundled, verify="never")
    assert not [path for path in seen if path.endswith(".bin")]
    monkeypatch.setenv("LAMDA_VERIFY", "never")
    serve.load(bundled)


def test_recorded_reads_once_and_always_each_time(bundled, monkeypatch):
    serve.load(bundled)
    pack = make.read(bundled)["weights"]["packs"][0]
    path = f"{bundled}/{pack['path']}"
    stamps = dict(digests._seen)
    with open(path, "r+b") as file:
        file.write(b"\xff")
    # A file system that keeps no times: the record is that of the bytes before.
    status = os.stat(path)
    stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    digests._seen[path] = [*stamp, stamps[path][-1]]
    serve.load(bundled)
    with pytest.raises(BundleError, match="should have the digest"):
        serve.load(bundled, verify="always")


def test_a_child_knows_what_its_parent_hashed(bundled, monkeypatch, tmp_path):
    serve.load(bundled)
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(digests.hashlib, "sha256", None)
    for known in list(digests._seen):
        assert digests.digest(known)


def test_what_is_refused(bundled):
    with pytest.raises(ServeError, match="verify='sometimes' is not known; files are verified"):
        serve.load(bundled, verify="sometimes")
    with pytest.raises(ServeError, match="a signature is required, and what is signed are digests"):
        read(bundled, [], "never")
