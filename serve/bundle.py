"""Read a bundle: its manifest, and its files, each checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import stat

from serve import errors, manifest
from serve.errors import BundleError
from serve.types import leaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from serve.keys import Key


def read(directory: str, keys: Sequence[Key] | None = None) -> Bundle:
    """`read(directory)` is the bundle in that directory, with its manifest and file sizes checked.

    With `keys`, one of them must have signed the manifest, before anything of it is read.

    Raises:
        BundleError: names the file, what was expected of it, and what to do.
    """
    path = os.path.join(directory, "manifest.json")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(errors.NO_MANIFEST.format(path=path)) from None
    if keys is not None:
        from serve.signed import require_manifest

        require_manifest(directory, data, keys)
    try:
        value = json.loads(data)
    except ValueError as reason:
        raise BundleError(errors.NOT_JSON.format(path=path, reason=reason)) from None
    manifest.check(value, path)
    bundle = Bundle(os.path.realpath(directory), value)
    for file in bundle.files():
        bundle.path(file)
    return bundle


class Bundle:
    """A directory that holds everything one deployed function needs (docs/bundle.md).

    The attributes are the values of the manifest, checked: plain JSON, not to be changed.
    """

    __slots__ = (
        "address", "batch", "directory", "example", "input", "manifest", "name", "output",
        "packs", "pred", "programs", "sizes", "tensors", "text",
    )  # fmt: skip

    def __init__(self, directory: str, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.address: str = manifest["address"]
        self.pred: str | None = manifest["pred"]
        self.input: dict[str, Any] = manifest["input"]
        self.output: dict[str, Any] = manifest["output"]
        self.batch: str | None = manifest["batch"]
        self.sizes: dict[str, list[int]] = manifest["sizes"]
        self.text: dict[str, Any] | None = manifest["text"]
        self.example: Any = manifest["example"]
        self.tensors: list[dict[str, Any]] = manifest["weights"]["tensors"]
        self.packs: list[dict[str, Any]] = manifest["weights"]["packs"]
        self.programs: list[dict[str, Any]] = manifest["programs"]

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {self.address[:19]}..., {self.directory!r})"

    def files(self) -> Iterator[dict[str, Any]]:
        """Every FILE of the manifest."""
        yield from self.packs
        for program in self.programs:
            yield program["stablehlo"]
            for executable in program["executables"]:
                yield executable["file"]
        if self.text is not None:
            yield self.text["tokenizer"]

    def inputs(self, index: int) -> list[tuple[str, tuple[int, ...]]]:
        """The (dtype, shape) of every input leaf of programs[index], in type order."""
        sizes = self.programs[index]["sizes"]
        return [
            (leaf.dtype, tuple(sizes[d] if isinstance(d, str) else d for d in leaf.dims))
            for leaf in leaves(self.input)
        ]

    def path(self, file: dict[str, Any]) -> str:
        """The absolute path of a FILE, which exists inside the bundle and has its size.

        Raises:
            BundleError: the path leaves the bundle, or the file is missing or of another size.
        """
        path = self._inside(file["path"])
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(errors.MISSING_FILE.format(path=path)) from None
        if status.st_size != file["size"] or not stat.S_ISREG(status.st_mode):
            text = errors.WRONG_SIZE.format(path=path, expected=file["size"], found=status.st_size)
            raise BundleError(text)
        return path

    def content(self, file: dict[str, Any]) -> bytes:
        """The bytes of a FILE; what is returned is what was hashed.

        Raises:
            BundleError: as `path`, or the digest differs.
        """
        path = self.path(file)
        with open(path, "rb") as opened:
            data = opened.read()
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if found != file["digest"]:
            text = errors.WRONG_DIGEST.format(path=path, expected=file["digest"], found=found)
            raise BundleError(text)
        return data

    def verify(self) -> None:
        """Hash every file.

        Raises:
            BundleError: names the first file that is not what the manifest says.
        """
        for file in self.files():
            self.content(file)

    def _inside(self, relative: str) -> str:
        """A path of the manifest as an absolute one, links followed, if it stays inside."""
        parts = relative.split("/")
        plain = not any(part in ("", ".", "..") for part in parts)
        if plain and "\\" not in relative and "\0" not in relative:
            path = os.path.realpath(os.path.join(self.directory, *parts))
            if path.startswith(os.path.join(self.directory, "")):
                return path
        raise BundleError(errors.OUTSIDE.format(
            path=os.path.join(self.directory, "manifest.json"),
            file=relative, directory=self.directory,
        ))  # fmt: skip
