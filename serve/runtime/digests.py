"""The digest of a large file, hashed when it is first seen and remembered while it is untouched."""

from __future__ import annotations

import hashlib
import json
import os

from serve import errors
from serve.errors import BundleError
from serve.runtime import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from serve.bundle import Bundle

_MEMORY = "digests.json"
_seen: dict[str, list] = {}  # by this process, and by that which forked it


def checked(bundle: Bundle, file: dict[str, Any]) -> str:
    """The absolute path of a FILE whose bytes are what the manifest says.

    Hashing 90 MB takes from 0.1 s to 0.2 s. How often it is done says `bundle.hashing`: a file that
    this machine has hashed before, and nobody has written since, is believed when it is `recorded`;
    `always` each file is read; `never` is for a platform that has checked the whole package, and
    then its size is enough. `Bundle.verify` reads every byte again.

    Raises:
        BundleError: as `Bundle.path`, or the digest differs.
    """
    path = bundle.path(file)
    if bundle.hashing == "never":
        return path
    try:
        found = digest(path, anew=bundle.hashing == "always")
    except OSError as reason:
        text = errors.UNREADABLE.format(path=path, reason=reason.strerror)
        raise BundleError(text) from None
    if found != file["digest"]:
        text = errors.WRONG_DIGEST.format(path=path, expected=file["digest"], found=found)
        raise BundleError(text)
    return path


def digest(path: str, anew: bool = False) -> str:
    """`sha256:...` of a file, by an absolute path without links; `anew` whatever is remembered."""
    status = os.stat(path)
    stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if not anew:
        for known in (_seen, _remembered()):
            if path in known and known[path][:-1] == stamp:
                return known[path][-1]
    hasher = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    found = "sha256:" + hasher.hexdigest()
    _seen[path] = [*stamp, found]
    there = {known: entry for known, entry in _remembered().items() if os.path.exists(known)}
    cache.write(_MEMORY, json.dumps({**there, path: [*stamp, found]}).encode())
    return found


def _remembered() -> dict[str, list]:
    """Path to [dev, inode, size, mtime_ns, ctime_ns, digest]; empty where it can not be read."""
    try:
        memory = json.loads(cache.read(_MEMORY) or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(memory, dict):
        return {}
    return {path: entry for path, entry in memory.items() if _entry(entry)}


def _entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 6 and isinstance(value[-1], str)
