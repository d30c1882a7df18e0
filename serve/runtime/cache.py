"""What is worth remembering between processes: small files that may be lost at any time.

Some of them are code, and others say which code to believe: who writes the cache decides what this
process runs. So what others than its user and root can write is not read, and not written.
"""

from __future__ import annotations

import os

OTHERS = 0o022  # the group, and everybody
REFUSED = (
    "The cache {path} is not used: expected a directory that only this user can write, found "
    "owner {owner} and mode {mode:o}. Run chmod go-w on it, or set LAMDA_CACHE to another."
)


def directory() -> str:
    """`$LAMDA_CACHE`, else `~/.cache/lamda`; a path where nothing can be, without a home."""
    named = os.environ.get("LAMDA_CACHE")
    home = os.path.expanduser("~")
    return named or os.path.join(home if os.path.isabs(home) else os.devnull, ".cache/lamda")


def refusal() -> str:
    """Why the cache is not used although it is there; empty where it is used, or is not there."""
    try:
        status = os.stat(directory())
    except OSError:
        return ""
    if _own(status):
        return ""
    mode = status.st_mode & 0o7777
    return REFUSED.format(path=directory(), owner=status.st_uid, mode=mode)


def read(name: str) -> bytes | None:
    """What was written under a name, or None."""
    path = os.path.join(directory(), name)
    try:
        with open(path, "rb") as file:
            return file.read() if _safe(path) and _own(os.fstat(file.fileno())) else None
    except OSError:
        return None


def write(name: str, data: bytes) -> bool:
    """Keep data under a name, whole or not at all; False where nothing can be written."""
    path = os.path.join(directory(), name)
    # Not named by the process: two in different containers may have the same number.
    draft = f"{path}.{os.urandom(8).hex()}.draft"
    try:
        for folder in (directory(), os.path.dirname(path)):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        if not _safe(path):
            return False
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return False
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except OSError:
        _forget(draft)  # a full disk stays as full as it was
        return False
    return True


def _safe(path: str) -> bool:
    """Can nobody else put a file in the folder of this one?"""
    return all(_own(os.stat(folder)) for folder in (directory(), os.path.dirname(path)))


def _own(status: os.stat_result) -> bool:
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & OTHERS


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
