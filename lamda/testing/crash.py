"""Power cuts: what of a directory would survive one, after each call to the operating system.

POSIX promises little. The bytes of a file survive a cut if it was flushed (``fsync``) after they
were written, and a name in a directory if that directory was flushed after the name was made; what
was not flushed may survive or not, in any order. So between two flushes there are two trees: what
is *sure*, and what is *possible*.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import Any, NamedTuple, TypeAlias

WATCHED = (
    "open", "fsync", "fdatasync", "replace", "rename", "mkdir", "link", "unlink", "rmdir",
)  # fmt: skip
"""The calls of ``os`` after which the power may be cut."""

Tree: TypeAlias = dict[str, bytes | None]
"""Every file by its path, with its bytes; ``None`` where they may be anything."""


class Cut(NamedTuple):
    """What a power cut leaves."""

    after: str
    """The call that it follows."""
    sure: Tree
    """What survives it, whatever the disk does."""
    possible: Tree
    """What was there when it came: any part of it may survive."""


class _File:
    """A file or directory as the disk knows it, as long as it lives."""

    def __init__(self, folder: bool) -> None:
        self.folder = folder
        self.data: bytes | None = None
        """Of a file: its bytes when it was flushed."""
        self.at: tuple[int, int] | None = None
        """Of a file: its size and time of change when it was flushed."""
        self.names: dict[str, _File] = {}
        """Of a directory: its entries when it was flushed."""


class Disk:
    """A directory on a disk whose power may be cut; all that is there at first survives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cuts: list[Cut] = []
        self._files: dict[int, _File] = {}
        self._now: dict[Path, os.stat_result] = {}
        self.look()
        for path in self._now:
            self._flush(path)

    def look(self) -> None:
        """See what is there now; what is there no more is forgotten with its number."""
        self._now = {path: path.stat() for path in (self.root, *self.root.rglob("*"))}
        self._files = {
            stat.st_ino: self._files.get(stat.st_ino) or _File(S_ISDIR(stat.st_mode))
            for stat in self._now.values()
        }

    def flushed(self, descriptor: int) -> None:
        """What a descriptor stands for was flushed."""
        number = os.fstat(descriptor).st_ino
        for path, stat in self._now.items():
            if stat.st_ino == number:
                self._flush(path)

    def cut(self, after: str) -> Cut:
        """What a power cut would leave now."""
        return Cut(after, dict(self._sure(self._file(self.root), "")), self._possible())

    def _file(self, path: Path) -> _File:
        return self._files[self._now[path].st_ino]

    def _flush(self, path: Path) -> None:
        file = self._file(path)
        if file.folder:
            file.names = {p.name: self._file(p) for p in self._now if p.parent == path}
        else:
            file.data, file.at = path.read_bytes(), _change(self._now[path])

    def _sure(self, file: _File, at: str) -> Iterator[tuple[str, bytes | None]]:
        for name, inner in file.names.items():
            path = f"{at}/{name}" if at else name
            if inner.folder:
                yield from self._sure(inner, path)
            else:
                yield path, self._bytes(inner)

    def _possible(self) -> Tree:
        files = [path for path in self._now if not self._file(path).folder]
        return {str(p.relative_to(self.root)): self._bytes(self._file(p)) for p in files}

    def _bytes(self, file: _File) -> bytes | None:
        """The bytes that are sure: none where the file was written to since it was flushed."""
        now = [stat for path, stat in self._now.items() if self._file(path) is file]
        return file.data if all(_change(stat) == file.at for stat in now) else None


def _change(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


@contextmanager
def watching(root: Path) -> Iterator[list[Cut]]:
    """What a power cut would leave of ``root`` after each call of the block; the last at its end.

    ``os`` is watched while the block runs, and put back after it.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> with watching(root) as cuts:
    ...     _ = (root / "a").write_text("never flushed")
    >>> cuts[-1].sure, cuts[-1].possible
    ({}, {'a': None})
    """
    disk = Disk(root)
    real = {name: getattr(os, name) for name in WATCHED}
    for name, call in real.items():
        setattr(os, name, _watched(name, call, disk))
    try:
        yield disk.cuts
    finally:
        for name, call in real.items():
            setattr(os, name, call)
        disk.look()
        disk.cuts.append(disk.cut("the end"))


def _watched(name: str, call: Callable[..., Any], disk: Disk) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        result = call(*arguments, **options)
        disk.look()
        if name in ("fsync", "fdatasync"):
            disk.flushed(arguments[0])
        disk.cuts.append(disk.cut(f"os.{name}"))
        return result

    return watched


def restore(tree: Tree, root: Path) -> Path:
    """The directory that a power cut has left, made at ``root``; bytes that may be anything: none.

    >>> import tempfile
    >>> sorted(p.name for p in restore({"a/b": b"1"}, Path(tempfile.mkdtemp())).rglob("*"))
    ['a', 'b']
    """
    for name, data in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data or b"")
    return root
