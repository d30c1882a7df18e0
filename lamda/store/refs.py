"""Refs: the names of versions. One file each, and the truth about what a store keeps.

``refs/<name>`` holds the digest of a manifest. A ref is moved under a lock, only from where it is
thought to be, in one durable step; ``index.json`` is derived, for tools that read OCI layouts.
"""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from lamda import errors
from lamda.store import pointer
from lamda.store.files import locked, sync_directory, write_file

_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
LONGEST = 128


class Refs:
    """The directory ``refs`` of a store; ``moved`` is called, under the lock, after each change."""

    def __init__(self, root: Path, moved: Callable[[dict[str, str]], object]) -> None:
        self.root = root
        self.directory = root / "refs"
        self._moved = moved

    def all(self) -> dict[str, str]:
        """Every ref with the digest of its manifest."""
        found: dict[str, str] = {}
        for name in self.names():
            with contextlib.suppress(FileNotFoundError):  # it was removed just now
                found[name] = self._read(self.directory / name)
        return found

    def names(self) -> list[str]:
        """Every ref, whatever its file holds."""
        found = (
            Path(folder, file).relative_to(self.directory).as_posix()
            for folder, _, files in os.walk(self.directory)
            for file in files
            if not file.startswith(".")
        )
        return sorted(found)

    def get(self, name: str) -> str | None:
        """The manifest that a ref names; ``None`` where there is no such ref."""
        if not is_name(name):
            return None
        path = self.directory / name
        try:
            return None if path.is_dir() and not path.is_symlink() else self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def move(self, name: str, new: str | None, allowed: Callable[[str | None], None]) -> None:
        """Compare and swap: the ref names ``new`` if ``allowed(head)`` does not raise.

        ``None`` as ``new`` removes the ref. Raises what ``allowed`` raises; then nothing changed.
        """
        path = self.path(name)
        with locked(self.root, "refs.lock"):
            head = self.get(name)
            allowed(head)
            if new is None:
                self._remove(path)
            elif new != head:
                self.require_place(name)
                self._write(path, new, head)
            self._tell()

    def refresh(self) -> None:
        """Derive again what is derived from the refs."""
        with locked(self.root, "refs.lock"):
            self._tell()

    def _tell(self) -> None:
        """The ref is moved, and so it stays; what is derived from it can be derived again."""
        with contextlib.suppress(OSError, errors.LamdaError):
            self._moved(self.readable())

    def readable(self) -> dict[str, str]:
        """Every ref that can be read, with the digest of its manifest."""
        found: dict[str, str] = {}
        for name in filter(is_name, self.names()):
            with contextlib.suppress(errors.StoreError, FileNotFoundError):
                found[name] = self._read(self.directory / name)
        return found

    def _write(self, path: Path, new: str, head: str | None) -> None:
        """Write a ref, or leave it as it was."""
        try:
            write_file(path, new.encode())
        except OSError:  # perhaps after it was renamed: then it is not sure to last
            with contextlib.suppress(OSError):
                path.unlink() if head is None else write_file(path, head.encode())
            raise

    def _remove(self, path: Path) -> None:
        """Remove a ref, and folders that are empty then: their names are free again."""
        path.unlink(missing_ok=True)
        for folder in path.relative_to(self.directory).parents:
            sync_directory(self.directory / folder)
            with contextlib.suppress(OSError):
                (self.directory / folder).rmdir()

    def path(self, name: str) -> Path:
        """The file of a ref. Raises SpecError for what is no name."""
        if not is_name(name):
            raise errors.SpecError(errors.BAD_REF.format(ref=name))
        return self.directory / name

    def require_place(self, name: str) -> None:
        """Raises SpecError for what is no name, is a folder of other refs, or is inside of one."""
        self.path(name)
        for other in self.names():
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise errors.SpecError(errors.REF_INSIDE.format(ref=name, other=other))

    def _read(self, path: Path) -> str:
        # A link further up, for the last part of a path is looked at where it is opened.
        if self.directory.resolve() / path.relative_to(self.directory) != path.resolve():
            raise errors.StoreError(errors.BLOB_LINK.format(path=path))
        return pointer.digest(path)


def is_name(text: str) -> bool:
    """Whether a text is a name for a ref."""
    return len(text) <= LONGEST and _NAME.fullmatch(text) is not None
