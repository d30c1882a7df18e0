"""Refs: the names of versions. One file each, and the truth about what a store keeps.

``refs/<name>`` holds the digest of a manifest. A ref is moved under a lock, only from where it is
thought to be, in one durable step; ``index.json`` is derived, for tools that read OCI layouts.
"""

import re
from collections.abc import Callable
from pathlib import Path

from lamda import errors
from lamda.store.files import locked, write_file

_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
LONGEST = 128


class Refs:
    """The directory ``refs`` of a store; ``moved`` is called, under the lock, after each change."""

    def __init__(self, root: Path, moved: Callable[[dict[str, str]], None]) -> None:
        self.root = root
        self.directory = root / "refs"
        self._moved = moved

    def all(self) -> dict[str, str]:
        """Every ref with the digest of its manifest."""
        files = sorted(self.directory.rglob("*")) if self.directory.exists() else []
        found = (f for f in files if f.is_file() and not f.name.startswith("."))
        return {str(f.relative_to(self.directory)): self._read(f) for f in found}

    def get(self, name: str) -> str | None:
        """The manifest that a ref names; ``None`` where there is no such ref."""
        path = self.path(name)
        return self._read(path) if path.is_file() else None

    def move(self, name: str, new: str | None, allowed: Callable[[str | None], None]) -> None:
        """Compare and swap: the ref names ``new`` if ``allowed(head)`` does not raise.

        ``None`` as ``new`` removes the ref. Raises what ``allowed`` raises; then nothing changed.
        """
        path = self.path(name)
        with locked(self.root, "refs.lock"):
            head = self.get(name)
            allowed(head)
            if new is None:
                path.unlink(missing_ok=True)
            elif new != head:
                self._place(name, path, new)
            self._moved(self.all())

    def path(self, name: str) -> Path:
        """The file of a ref. Raises SpecError for what is no name."""
        if not _NAME.fullmatch(name) or len(name) > LONGEST:
            raise errors.SpecError(errors.BAD_REF.format(ref=name))
        return self.directory / name

    def _place(self, name: str, path: Path, new: str) -> None:
        try:
            write_file(path, new.encode())
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            raise errors.SpecError(errors.REF_IN_REF.format(ref=name)) from None

    def _read(self, path: Path) -> str:
        text = path.read_text()
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
            raise errors.StoreError(errors.BAD_REF_FILE.format(path=path, text=text[:80]))
        return text
