"""Pointers: small files that hold the digest of a manifest, as those of refs and signatures do."""

import os
import stat
from pathlib import Path

from lamda import errors
from lamda.store.checked import DIGEST

MOST = 1 << 10
"""Bytes that are read of a small file, however large it is."""


def digest(path: Path) -> str:
    """The digest that a file holds. Raises StoreError for what holds none; FileNotFoundError."""
    found = text(path).strip()
    if not DIGEST.fullmatch(found):
        raise errors.StoreError(errors.BAD_REF_FILE.format(path=path, text=found[:80]))
    return found


def text(path: Path) -> str:
    """The beginning of a file; a link is not followed, and a pipe is not waited for.

    Raises StoreError for what is no file; FileNotFoundError.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise errors.StoreError(errors.BLOB_LINK.format(path=path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read(MOST).decode(errors="replace")
