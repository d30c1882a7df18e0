"""Reading a bundle: what is accepted, and each thing that is refused, with its literal text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import make
import pytest

from serve import bundle
from serve.errors import BundleError

REBUILD = "Write the bundle again with lm.bundle; docs/bundle.md describes the format."
RECOPY = "Copy the bundle again: it was cut short or changed after it was written."


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    text = {"batch": "b", "length": "t", "ids": ["ids"], "mask": ["mask"], "max_length": 4}
    return make.pair(tmp_path_factory.mktemp("bundles") / "pair", executables=False, text=text)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.dense(tmp_path_factory.mktemp("bundles") / "dense", executables=False)


def changed(source: str, target: Any, change: Callable[[Any], object]) -> tuple[str, str]:
    """A copy of a bundle with a changed manifest: its directory, and the manifest's path."""
    directory = str(shutil.copytree(source, target / "copy"))
    value = make.read(directory)
    change(value)
    make.write(directory, value)
    return directory, os.path.join(directory, "manifest.json")


def refused(directory: str) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.read(directory)
    return str(caught.value)


def test_a_bundle_is_its_manifest(written: str) -> None:
    read, value = bundle.read(written), make.read(written)
    assert read.directory == written
    assert read.manifest == value
    assert (read.name, read.address, read.pred) == ("pair", make.address("pair"), None)
    assert (read.batch, read.sizes) == ("b", {"b": [1, 2], "t": [4]})
    assert read.example == {"ids": [[1, 2]], "mask": [[True, True]]}
    assert read.input == value["input"] and read.output == value["output"]
    assert read.text == value["text"]
    assert read.tensors == [] and read.packs == []
    assert read.programs == value["programs"]
    assert read.inputs(1) == [("int32", (2, 4)), ("bool", (2, 4))]
    read.verify()


def test_content_is_what_was_hashed(weighted: str) -> None:
    read = bundle.read(weighted)
    content = read.content(read.packs[0])
    assert len(content) == read.packs[0]["size"]
    assert read.path(read.packs[0]) == os.path.join(weighted, read.packs[0]["path"])


def test_keys_of_a_later_writer_are_allowed(written: str, tmp_path: Any) -> None:
    directory, _ = changed(written, tmp_path, lambda m: m.update(later={"more": 1}))
    assert bundle.read(directory).name == "pair"


def test_no_manifest(tmp_path: Any) -> None:
    assert refused(str(tmp_path)) == (
        f"{tmp_path}/manifest.json does not exist. A bundle is a directory with a manifest.json "
        "in it: check the path, or write one with lm.bundle."
    )
    assert refused(str(tmp_path / "none")).startswith(f"{tmp_path}/none/manifest.json does not")


def test_not_json(tmp_path: Any) -> None:
    (tmp_path / "manifest.json").write_text('{"format": ')
    assert refused(str(tmp_path)) == (
        f"{tmp_path}/manifest.json is not JSON: Expecting value: line 1 column 12 (char 11). "
        + RECOPY
    )
    (tmp_path / "manifest.json").write_bytes(b'"\xff"')
    assert "is not JSON: 'utf-8' codec can't decode byte 0xff" in refused(str(tmp_path))


def test_another_format(written: str, tmp_path: Any) -> None:
    directory, path = changed(written, tmp_path, lambda m: m.update(format="lamda.bundle/2"))
    assert refused(directory) == (
        f"{path}: format should be 'lamda.bundle/1', found 'lamda.bundle/2'. "
        "Write the bundle again with a lamda that matches this serve, or the other way round."
    )


def test_a_missing_key(written: str, tmp_path: Any) -> None:
    directory, path = changed(written, tmp_path, lambda m: m.pop("sizes"))
    assert refused(directory) == f"{path}: the manifest should have the key 'sizes'. {REBUILD}"


def test_a_missing_key_further_in(written: str, tmp_path: Any) -> None:
    directory, path = changed(
        written, tmp_path, lambda m: m["programs"][1]["stablehlo"].pop("size")
    )
    assert refused(directory) == (
        f"{path}: programs[1].stablehlo should have the key 'size'. {REBUILD}"
    )


def test_a_list_is_no_manifest(tmp_path: Any) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    assert refused(str(tmp_path)) == (
        f"{tmp_path}/manifest.json: the manifest should be an object, found []. {REBUILD}"
    )


DTYPES = (
    "a dtype, one of bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 bfloat16 float32 float64"
)
ILL_TYPED = {
    "name": (lambda m: m.update(name=7), "name should be a string, found 7"),
    "address": (
        lambda m: m.update(address="sha256:AB"),
        "address should be sha256: and 64 hexadecimal digits, found 'sha256:AB'",
    ),
    "pred": (
        lambda m: m.update(pred="v1"),
        "pred should be sha256: and 64 hexadecimal digits, found 'v1'",
    ),
    "type": (
        lambda m: m.update(input={"list": []}),
        "input should be a type: {array}, {tuple} or {dict}, found {'list': []}",
    ),
    "leaf": (
        lambda m: m["input"]["dict"].update(ids={"array": ["int32"]}),
        "input.dict.ids.array should be a dtype and a list of dimensions, found ['int32']",
    ),
    "dtype": (
        lambda m: m["input"]["dict"].update(ids=make.array("int4", "b")),
        f"input.dict.ids.array[0] should be {DTYPES}, found 'int4'",
    ),
    "dimension": (
        lambda m: m["input"]["dict"].update(ids=make.array("int32", "b", -1)),
        "input.dict.ids.array[1][1] should be a whole number or a name, found -1",
    ),
    "sizes": (
        lambda m: m["sizes"].update(b=[2, 1]),
        "sizes.b should be ascending sizes from 1 up, found [2, 1]",
    ),
    "size": (
        lambda m: m["sizes"].update(b=[True, 2]),
        "sizes.b[0] should be a whole number, found True",
    ),
    "unsized": (
        lambda m: m["sizes"].pop("t"),
        "sizes should be sizes for exactly ['b', 't'], found ['b']",
    ),
    "batch": (
        lambda m: m.update(batch="n"),
        "batch should be null or one of ['b', 't'], found 'n'",
    ),
    "programs": (
        lambda m: m["programs"].pop(),
        "programs should be one program for each of [{'b': 1, 't': 4}, {'b': 2, 't': 4}], "
        "found [{'b': 1, 't': 4}]",
    ),
    "twice": (
        lambda m: m["programs"][1].update(sizes={"b": 1, "t": 4}),
        "programs should be one program for each of [{'b': 1, 't': 4}, {'b': 2, 't': 4}], "
        "found [{'b': 1, 't': 4}, {'b': 1, 't': 4}]",
    ),
    "file": (
        lambda m: m["programs"][0]["stablehlo"].update(size="9"),
        "programs[0].stablehlo.size should be a whole number, found '9'",
    ),
    "executable": (
        lambda m: m["programs"][0].update(executables={}),
        "programs[0].executables should be a list, found {}",
    ),
    "text": (
        lambda m: m["text"].update(ids=[None]),
        "text.ids[0] should be a key or an index, found None",
    ),
}


@pytest.mark.parametrize("which", ILL_TYPED)
def test_an_ill_typed_value(which: str, written: str, tmp_path: Any) -> None:
    change, expected = ILL_TYPED[which]
    directory, path = changed(written, tmp_path, change)
    assert refused(directory) == f"{path}: {expected}. {REBUILD}"


TENSORS = {
    "size": (
        lambda t: t.update(size=20),
        "weights.tensors[0].size should be 24 bytes, found 20",
    ),
    "alignment": (
        lambda t: t.update(offset=32),
        "weights.tensors[0].offset should be a multiple of 64, found 32",
    ),
    "bounds": (
        lambda t: t.update(offset=4096),
        "weights.tensors[0].offset + size should be at most 192, found 4120",
    ),
    "pack": (
        lambda t: t.update(pack=1),
        "weights.tensors[0].pack should be less than 1, found 1",
    ),
    "negative": (
        lambda t: t.update(offset=-64),
        "weights.tensors[0].offset should be a whole number, found -64",
    ),
}


@pytest.mark.parametrize("which", TENSORS)
def test_a_tensor_outside_its_pack(which: str, weighted: str, tmp_path: Any) -> None:
    change, expected = TENSORS[which]
    directory, path = changed(weighted, tmp_path, lambda m: change(m["weights"]["tensors"][0]))
    assert refused(directory) == f"{path}: {expected}. {REBUILD}"


@pytest.mark.parametrize(
    "outside",
    ["../secret", "/etc/hostname", "weights/../../secret", "weights//x", "./x", "", "a\\b", "a\0b"],
)
def test_a_path_that_leaves_the_bundle(outside: str, weighted: str, tmp_path: Any) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    directory, path = changed(
        weighted, tmp_path, lambda m: m["weights"]["packs"][0].update(path=outside)
    )
    assert refused(directory) == (
        f"{path}: the file {outside!r} is outside the bundle. A path should be relative, with / "
        f"between its parts, and stay inside {directory}, also through links. "
        f"Do not load this bundle: {REBUILD}"
    )


def test_a_link_that_leaves_the_bundle(weighted: str, tmp_path: Any) -> None:
    directory, _ = changed(weighted, tmp_path, lambda m: None)
    pack = make.read(directory)["weights"]["packs"][0]["path"]
    shutil.move(os.path.join(directory, pack), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", os.path.join(directory, pack))
    assert f"the file {pack!r} is outside the bundle" in refused(directory)


def test_a_bundle_may_be_reached_through_a_link(weighted: str, tmp_path: Any) -> None:
    os.symlink(weighted, tmp_path / "link")
    assert bundle.read(str(tmp_path / "link")).directory == weighted


def test_a_missing_file(weighted: str, tmp_path: Any) -> None:
    directory, _ = changed(weighted, tmp_path, lambda m: None)
    pack = os.path.join(directory, make.read(directory)["weights"]["packs"][0]["path"])
    os.remove(pack)
    assert refused(directory) == f"{pack} is missing, and the manifest names it. {RECOPY}"


def test_a_directory_in_place_of_a_file(weighted: str, tmp_path: Any) -> None:
    directory, _ = changed(weighted, tmp_path, lambda m: None)
    file = make.read(directory)["weights"]["packs"][0]
    os.remove(os.path.join(directory, file["path"]))
    os.mkdir(os.path.join(directory, file["path"]))
    assert f"should be {file['size']} bytes, found" in refused(directory)


@pytest.mark.parametrize("which", ["packs", "stablehlo", "tokenizer"])
def test_a_size_that_differs(which: str, written: str, weighted: str, tmp_path: Any) -> None:
    source = weighted if which == "packs" else written
    directory, _ = changed(source, tmp_path, lambda m: None)
    value = make.read(directory)
    file = {
        "packs": lambda: value["weights"]["packs"][0],
        "stablehlo": lambda: value["programs"][1]["stablehlo"],
        "tokenizer": lambda: value["text"]["tokenizer"],
    }[which]()
    path = os.path.join(directory, file["path"])
    with open(path, "ab") as opened:
        opened.write(b"more")
    expected = f"{path} should be {file['size']} bytes, found {file['size'] + 4}. {RECOPY}"
    assert refused(directory) == expected


def test_a_digest_that_differs(weighted: str, tmp_path: Any) -> None:
    directory, _ = changed(weighted, tmp_path, lambda m: None)
    file = make.read(directory)["weights"]["packs"][0]
    path = os.path.join(directory, file["path"])
    with open(path, "r+b") as opened:
        opened.write(b"\xff")
    read = bundle.read(directory)
    with pytest.raises(BundleError) as caught:
        read.verify()
    found = str(caught.value)
    assert found.startswith(f"{path} should have the digest {file['digest']}, found sha256:")
    assert found.endswith(f". {RECOPY}")
