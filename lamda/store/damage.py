"""Damage: blobs that are not what their digests say are found, and moved to ``quarantine/``.

Nothing is deleted there: what is damaged may still hold what somebody needs.
"""

import contextlib
import hashlib
import math
import os
import random
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store.checked import DIGEST
from lamda.store.files import make_directory, sync_directory, write_file

if TYPE_CHECKING:
    from lamda.store.store import Store

Progress = Callable[[int, int], None] | None


def blobs(store: "Store", problems: list[str]) -> dict[str, int]:
    """The blobs of a store with their sizes; what else is there is a problem."""
    found: dict[str, int] = {}
    for path in sorted(store.blobs.directory.iterdir()):
        if path.name.endswith(".tmp"):  # somebody is writing it
            continue
        with contextlib.suppress(FileNotFoundError):  # it was collected just now
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                problems.append(errors.BLOB_LINK.format(path=path))
            elif not DIGEST.fullmatch(f"sha256:{path.name}"):
                problems.append(errors.NO_BLOB_NAME.format(path=path))
            else:
                found[f"sha256:{path.name}"] = facts.st_size
    return found


def sample(found: Mapping[str, int], share: float, seed: int | None) -> dict[str, int]:
    """A random share of the blobs, or all."""
    if share == 1 or not found:
        return dict(found)
    picked = random.Random(seed).sample([*found], math.ceil(share * len(found)))
    return {digest: found[digest] for digest in sorted(picked)}


def damaged(
    store: "Store", chosen: Mapping[str, int], problems: list[str], progress: Progress
) -> Iterator[str]:
    """Those of these blobs that are not what their digests say."""
    done, total = 0, sum(chosen.values())
    for digest, size in chosen.items():
        try:
            if not right(store, digest):
                yield digest
        except FileNotFoundError:  # it was collected just now
            pass
        except OSError as error:
            path = store.blobs.path(digest)
            problems.append(errors.BLOB_UNREAD.format(path=path, error=error))
        done += size
        if progress is not None:
            progress(done, total)
    store.blobs.trust.flush()


def right(store: "Store", digest: str) -> bool:
    """Whether a blob is what its digest says; then that is remembered. Raises OSError.

    It is read and not mapped: a disk that fails under a map ends the process.
    """
    path = store.blobs.path(digest)
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        before = os.fstat(file.fileno())
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{found}" != digest:
        return False
    store.blobs.trust.record(digest, before)
    return True


def quarantine(store: "Store", needed: Mapping[str, Sequence[str]]) -> None:
    """Move damaged blobs away, and note by whom each is needed. Raises OSError."""
    if needed:
        with store.writing(alone=True):
            for digest, needing in needed.items():
                _move(store, digest, needing)


def _move(store: "Store", digest: str, needing: Sequence[str]) -> None:
    place = store.blobs.quarantine
    if not store.blobs.has(digest) or right(store, digest):  # somebody was faster
        return
    make_directory(place)
    write_file(place / f"{digest[7:]}.needed", "\n".join(needing).encode())
    os.replace(store.blobs.path(digest), _free(place, digest[7:]))
    sync_directory(place)
    sync_directory(store.blobs.directory)


def _free(place: Path, name: str) -> Path:
    """A name that nothing has: a blob may be damaged more than once."""
    names = (name if number == 1 else f"{name}.{number}" for number in count(1))
    return next(place / each for each in names if not os.path.lexists(place / each))
