"""Trust: which blobs need not be hashed again.

A blob is hashed when it is written. What the file system then said of the file is recorded, and
as long as it says the same (device, inode, size, times of change in nanoseconds) the file is
taken to be what it was. A copy or a change of the file differs in one of these, and is hashed.
"""

import contextlib
import os
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from lamda.store.files import LOCAL, no_links

Facts: TypeAlias = tuple[int, int, int, int, int]


class Verify(Enum):
    """When the bytes of a blob are hashed before they are used."""

    RECORDED = "recorded"
    """Where no record says that they were, and the file has not changed since."""
    ALWAYS = "always"
    """Each time a model is opened."""
    BACKGROUND = "background"
    """As ``recorded``, by a thread while the model is in use already."""
    NEVER = "never"
    """Not at all: for a disk that is verified by other means."""


class Trust:
    """The file ``.local/verified`` of a store: one line for each blob that was hashed here."""

    def __init__(self, root: Path) -> None:
        self.path = root / LOCAL / "verified"
        self._known: dict[str, Facts] | None = None
        self._new: dict[str, Facts] = {}

    def holds(self, digest: str, found: os.stat_result) -> bool:
        """Whether the file was hashed, and is as it was."""
        if self._known is None:
            self._known = self._read()
        return (self._new.get(digest) or self._known.get(digest)) == facts(found)

    def record(self, digest: str, found: os.stat_result) -> None:
        """Remember that the file was hashed and is right."""
        self._new[digest] = facts(found)

    def flush(self) -> None:
        """Write what is new; a store that can not be written is only slower without."""
        if self._new:
            known = self._read() if self._known is None else self._known
            new, self._new = self._new, {}
            self._known = known | new
            lines = "".join(f"{d} {' '.join(map(str, f))}\n" for d, f in [*new.items()])
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(exist_ok=True)
                with open(self.path, "a", opener=no_links) as file:
                    file.write(lines)

    def _read(self) -> dict[str, Facts]:
        try:
            lines = self.path.read_text(errors="replace").splitlines()
        except OSError:
            return {}
        return dict(filter(None, map(_parse, lines)))


def facts(found: os.stat_result) -> Facts:
    """What changes with a file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _parse(line: str) -> tuple[str, Facts] | None:
    """A line; ``None`` for one that was cut short."""
    digest, *numbers = line.split() or [""]
    if len(numbers) != 5 or not all(n.isascii() and n.isdigit() for n in numbers):
        return None
    dev, inode, size, mtime, ctime = map(int, numbers)
    return digest, (dev, inode, size, mtime, ctime)
