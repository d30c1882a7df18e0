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
        if not _is_name(name):
            return None
        path = self.directory / name
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
                self.require_place(name)
                write_file(path, new.encode())
            self._moved(self.all())

    def path(self, name: str) -> Path:
        """The file of a ref. Raises SpecError for what is no name."""
        if not _is_name(name):
            raise errors.SpecError(errors.BAD_REF.format(ref=name))
        return self.directory / name

    def require_place(self, name: str) -> None:
        """Raises SpecError for what is no name, is a folder of other refs, or is inside of one."""
        self.path(name)
        for other in self.all():
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise errors.SpecError(errors.REF_INSIDE.format(ref=name, other=other))

    def _read(self, path: Path) -> str:
        text = path.read_text()
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
            raise errors.StoreError(errors.BAD_REF_FILE.format(path=path, text=text[:80]))
        return text


def _is_name(text: str) -> bool:
    return len(text) <= LONGEST and _NAME.fullmatch(text) is not None
