"""Read a bundle: its manifest, and its files, each checked before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import stat

from serve import errors
from serve.bundle import manifest
from serve.errors import BundleError, ServeError
from serve.types import leaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from serve.bundle.keys import Key

DEEPEST = 100  # what walks a manifest calls itself for each level


HASHING = ("recorded", "always", "never")


def read(directory: str, keys: Sequence[Key] | None = None, hashing: str = HASHING[0]) -> Bundle:
    """`read(directory)` is the bundle in that directory, with its manifest and file sizes checked.

    With `keys`, one of them must have signed the manifest, before anything of it is read.
    `hashing` says when packs and plugins are hashed, see serve.runtime.digests.

    Raises:
        ServeError: `hashing` is no such word, or is "never" where a signature is required.
        BundleError: names the file, what was expected of it, and what to do.
    """
    if hashing not in HASHING:
        raise ServeError(errors.BAD_HASHING.format(given=hashing, known=", ".join(HASHING)))
    if hashing == "never" and keys is not None:
        raise ServeError(errors.SIGNED_UNHASHED)
    path = os.path.join(directory, "manifest.json")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(errors.NO_MANIFEST.format(path=path)) from None
    except OSError as reason:
        raise _unreadable(path, reason) from None
    if keys is not None:
        from serve.bundle.signed import require_manifest

        require_manifest(directory, data, keys)
    try:
        value = json.loads(data)
    except RecursionError:
        raise BundleError(errors.TOO_DEEP.format(path=path, most=DEEPEST)) from None
    except ValueError as reason:
        raise BundleError(errors.NOT_JSON.format(path=path, reason=reason)) from None
    if _deeper(value, DEEPEST):
        raise BundleError(errors.TOO_DEEP.format(path=path, most=DEEPEST))
    manifest.check(value, path)
    bundle = Bundle(os.path.realpath(directory), value, hashing)
    for file in bundle.files():
        bundle.path(file)
    return bundle


class Bundle:
    """A directory that holds everything one deployed function needs (docs/bundle.md).

    The attributes are the values of the manifest, checked: plain JSON, not to be changed.
    """

    __slots__ = (
        "address", "batch", "directory", "example", "hashing", "image", "input", "manifest",
        "name", "output", "packs", "padded", "plugins", "pred", "programs", "sizes", "stream",
        "tensors", "text", "whole",
    )  # fmt: skip

    def __init__(self, directory: str, manifest: dict[str, Any], hashing: str = HASHING[0]) -> None:
        self.directory = directory
        self.hashing = hashing
        self.manifest = manifest
        self.name: str = manifest["name"]
        self.address: str = manifest["address"]
        self.pred: str | None = manifest["pred"]
        self.input: dict[str, Any] = manifest["input"]
        self.output: dict[str, Any] = manifest["output"]
        self.batch: str | None = manifest["batch"]
        self.sizes: dict[str, list[int]] = manifest["sizes"]
        self.padded: list[str] = manifest.get("padded", [])
        self.text: dict[str, Any] | None = manifest["text"]
        self.image: dict[str, Any] | None = manifest.get("image")
        self.example: Any = manifest["example"]
        self.tensors: list[dict[str, Any]] = manifest["weights"]["tensors"]
        self.packs: list[dict[str, Any]] = manifest["weights"]["packs"]
        self.stream: dict[str, Any] | None = manifest.get("stream")
        self.whole: list[dict[str, Any]] = manifest["programs"]
        self.programs = programs(manifest)
        self.plugins: list[dict[str, Any]] = manifest.get("plugins", [])

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {self.address[:19]}..., {self.directory!r})"

    def files(self) -> Iterator[dict[str, Any]]:
        """Every FILE of the manifest."""
        yield from self.packs
        for program in self.programs:
            yield program["stablehlo"]
            yield from program.get("platforms", {}).values()
            for executable in program["executables"]:
                yield executable["file"]
        if self.text is not None:
            yield self.text["tokenizer"]
        for plugin in self.plugins:
            yield plugin["file"]

    @property
    def platforms(self) -> list[str]:
        """The platforms of the executables, in their order, and then the CPU."""
        entries = [e for program in self.programs for e in program["executables"]]
        return list(dict.fromkeys([*(e["platform"] for e in entries), "cpu"]))

    def stablehlo(self, index: int, platform: str) -> dict[str, Any]:
        """The FILE of the portable program of programs[index] for a platform."""
        program = self.programs[index]
        return program.get("platforms", {}).get(platform, program["stablehlo"])

    def inputs(self, index: int) -> list[tuple[str, tuple[int, ...]]]:
        """The (dtype, shape) of every input leaf of programs[index], in type order."""
        sizes = self.programs[index]["sizes"]
        return [
            (leaf.dtype, tuple(sizes[d] if isinstance(d, str) else d for d in leaf.dims))
            for leaf in leaves(self.input)
        ]

    def outputs(self, index: int) -> list[tuple[str, tuple[int | None, ...]]]:
        """The (dtype, shape) of every output leaf of programs[index], in type order.

        A dimension is None that the type has as an expression, such as "2*b".
        """
        sizes = self.programs[index]["sizes"]
        return [
            (leaf.dtype, tuple(sizes.get(d) if isinstance(d, str) else d for d in leaf.dims))
            for leaf in leaves(self._gives(index))
        ]

    def _gives(self, index: int) -> dict[str, Any]:
        """The output type of programs[index]: the whole, a step, or the test of an iteration."""
        loop = (self.stream or {}).get("iterate", {})
        tested = index >= len(self.whole) + len(loop.get("step", ())) and bool(loop)
        return {"array": ["bool", []]} if tested else self.output

    def path(self, file: dict[str, Any]) -> str:
        """The absolute path of a FILE, which exists inside the bundle and has its size.

        Raises:
            BundleError: the path leaves the bundle, or the file is missing, can not be read, or is
                of another size.
        """
        path = self._inside(file["path"])
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(errors.MISSING_FILE.format(path=path)) from None
        except OSError as reason:
            raise _unreadable(path, reason) from None
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
        try:
            with open(path, "rb") as opened:
                data = opened.read()
        except OSError as reason:
            raise _unreadable(path, reason) from None
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
        plain = plain and not any("\ud800" <= letter <= "\udfff" for letter in relative)
        if plain and "\\" not in relative and "\0" not in relative:
            path = os.path.realpath(os.path.join(self.directory, *parts))
            if path.startswith(os.path.join(self.directory, "")):
                return path
        raise BundleError(errors.OUTSIDE.format(
            path=os.path.join(self.directory, "manifest.json"),
            file=relative, directory=self.directory,
        ))  # fmt: skip


def programs(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Every PROGRAM of a manifest: of the whole, then of the step and the test of an iteration."""
    loop = (manifest.get("stream") or {}).get("iterate", {})
    return [*manifest["programs"], *loop.get("step", ()), *(loop.get("done") or ())]


def _deeper(value: Any, most: int) -> bool:
    """Has a JSON value more levels than that? Walked level by level, not by recursion."""
    level = [value]
    for _ in range(most):
        level = [
            part
            for one in level
            if isinstance(one, list | dict)
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, list | dict)
        ]
        if not level:
            return False
    return True


def _unreadable(path: str, reason: OSError) -> BundleError:
    return BundleError(errors.UNREADABLE.format(path=path, reason=reason.strerror))
