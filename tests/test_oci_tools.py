"""Other people's tools read what is kept here and pushed: skopeo, modelpack-client, safetensors."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
import tools
from parts import dense

import lamda as lm
from lamda.cli import main

WIDE = 100_000
zero = lm.fine_tune_head(dense(4, WIDE, 0, "wide"), dense(WIDE, 2, 1, "head"))
one = lm.succ(zero, jax.tree.map(lambda w: w + 1, zero.weights))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = lm.Store(tmp_path_factory.mktemp("tools") / "store")
    made.put(one, ref="m")
    return made


@pytest.fixture(autouse=True)
def no_login(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def skopeo(*arguments):
    program = tools.debian("skopeo", tools.SKOPEO)
    done = subprocess.run(
        [program, "--insecure-policy", *arguments], env=tools.environment(program),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def blobs(path):
    return {p.name: p.read_bytes() for p in path.glob("blobs/sha256/*")}


def test_skopeo_copies_a_store_to_a_registry_which_is_pulled(store, host, tmp_path):
    store.put(zero, ref="before")  # a tool that knows no lineage copies what has a name
    for ref in ("before", "m"):
        skopeo(
            "copy", "--preserve-digests", "--dest-tls-verify=false",
            f"oci:{store.path}:{ref}", f"docker://{host}/copied:{ref}",
        )  # fmt: skip
    other = lm.Store(tmp_path / "other")
    assert other.pull(f"oci://{host}/copied:m") == one.address
    assert blobs(other.path) == blobs(store.path)


def test_skopeo_copies_what_is_pushed_to_a_layout(store, host, tmp_path):
    store.push(f"oci://{host}/pushed", "m")
    layout = tmp_path / "layout"
    skopeo(
        "copy", "--preserve-digests", "--src-tls-verify=false",
        f"docker://{host}/pushed:m", f"oci:{layout}:m",
    )  # fmt: skip
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["digest"] == store.find("m")
    mine = blobs(store.path)
    assert {name: mine[name] for name in blobs(layout)} == blobs(layout)
    assert len(blobs(layout)) == len(store.closure(store.find("m")))


def test_skopeo_inspects_what_is_pushed(store, host):
    store.push(f"oci://{host}/inspected", "m")
    where = f"docker://{host}/inspected:m"
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", where))
    assert raw == store.manifest(store.find("m"))
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/inspected"))
    assert set(tags["Tags"]) == {"m", *(f"v-{m.address[7:19]}" for m in (zero, one))}


def test_skopeo_writes_beside_a_store_and_nothing_is_lost(store, host, tmp_path):
    store.push(f"oci://{host}/beside", "m")
    other = lm.Store(tmp_path / "other")
    other.put(zero, ref="mine")
    skopeo(
        "copy", "--preserve-digests", "--src-tls-verify=false",
        f"docker://{host}/beside:m", f"oci:{other.path}:theirs",
    )  # fmt: skip
    again = lm.Store.open(other.path)
    assert again.refs() == {"mine": zero.address}
    again.put(one, ref="mine")
    assert again.get("mine").address == one.address


def test_modelpack_client_pulls_a_model_whole(store, host, tmp_path):
    package = tools.package("modelpack-client", "0.1.0")
    store.push(f"oci://{host}/packed", "m")
    done = subprocess.run(
        [sys.executable, "-m", "modelpack_client", "--insecure", "pull", f"{host}/packed:m",
         tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    layers = store.manifest(store.find("m"))["layers"]
    for layer in layers:
        file = tmp_path / "out" / layer["annotations"]["org.cncf.model.filepath"]
        assert file.read_bytes() == store.blobs.get(layer["digest"])


def test_safetensors_opens_every_weight_that_came(store, host, tmp_path):
    store.push(f"oci://{host}/opened", "m")
    other = lm.Store(tmp_path / "other")
    other.pull(f"oci://{host}/opened:m")
    found = {}
    for layer in other.manifest(other.find("m"))["layers"]:
        if layer["mediaType"] == "application/vnd.cncf.model.weight.v1.raw":
            tensors = safetensors.numpy.load(other.blobs.get(layer["digest"]))
            path = layer["annotations"]["org.cncf.model.filepath"].removesuffix(".safetensors")
            found |= {path if name == "data" else name: t for name, t in tensors.items()}
    named = {"/".join(path): np.asarray(t.array) for path, t, _ in one.tensors()}
    assert {*found} == {*named}
    for path, tensor in named.items():
        np.testing.assert_array_equal(found[path], tensor)


def test_what_skopeo_writes_as_a_layout_is_imported(host, tmp_path, capsys):
    """From a registry to a directory by skopeo, and from there into a store by lamda."""
    mine = lm.Store(tmp_path / "mine")
    mine.put(one, ref="m")
    before = mine.before(mine.find("m"))
    mine.push(f"oci://{host}/laid", "m")
    layout = tmp_path / "layout"
    for tag, ref in ((f"v-{zero.address[7:19]}", "first"), ("m", "m")):
        skopeo(
            "copy", "--preserve-digests", "--src-tls-verify=false",
            f"docker://{host}/laid:{tag}", f"oci:{layout}:{ref}",
        )  # fmt: skip
    other = lm.Store(tmp_path / "other")
    assert main(["import", str(layout), "--store", str(other.path)]) == 0
    assert one.address in capsys.readouterr().out
    assert other.refs() == {"first": zero.address, "m": one.address}
    assert other.heads() == {"first": before, "m": mine.find("m")}
    assert blobs(other.path) == blobs(mine.path)
    assert other.verify(deep=True).clean
    # What skopeo damaged, or somebody since, is refused, and the ref stays where it was.
    bad = layout / "blobs" / "sha256" / mine.manifest(mine.find("m"))["layers"][0]["digest"][7:]
    bad.write_bytes(bad.read_bytes().replace(b"float32", b"float16"))
    third = lm.Store(tmp_path / "third")
    assert main(["import", str(layout), "--store", str(third.path)]) == 1
    assert "m" not in third.refs()


def test_a_version_alone_is_no_lineage(host, tmp_path):
    """Who copies the newest version alone by skopeo is told what is missing."""
    mine = lm.Store(tmp_path / "mine")
    mine.put(one, ref="m")
    mine.push(f"oci://{host}/alone", "m")
    layout = tmp_path / "layout"
    skopeo(
        "copy", "--preserve-digests", "--src-tls-verify=false",
        f"docker://{host}/alone:m", f"oci:{layout}:m",
    )  # fmt: skip
    other = lm.Store(tmp_path / "other")
    with pytest.raises(lm.MissingError, match="has 1 versions of this lineage, and not sha256:"):
        other.import_layout(layout)
    other.put(zero, ref="before")
    assert other.import_layout(layout) == {"m": one.address}
