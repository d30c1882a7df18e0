"""Folders on the disk, for as long as a law needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lamda.store import Store
from lamda.store.files import LOCAL


@contextmanager
def folder() -> Iterator[Path]:
    """A directory that is empty, and gone when the block ends."""
    with TemporaryDirectory(prefix="lamda-") as path:
        yield Path(path)


@contextmanager
def emptied() -> Iterator[Store]:
    """A store with nothing in it, gone when the block ends."""
    with folder() as path:
        yield Store(path / "store")


def files(root: Path) -> dict[str, bytes]:
    """Every file of a store with its bytes, but those that are of this machine alone."""
    found = (p for p in sorted(root.rglob("*")) if p.is_file() and LOCAL not in p.parts)
    return {str(p.relative_to(root)): p.read_bytes() for p in found}


def difference(left: dict[str, bytes], right: dict[str, bytes]) -> str:
    """The first files that differ, by name; empty where none does."""
    names = [n for n in sorted({*left, *right}) if left.get(n) != right.get(n)]
    return ", ".join(names[:4])
