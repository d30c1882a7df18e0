"""A Unix socket to listen on, and its file."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

from serve.errors import ServeError

TAKEN = "can not listen on {path}: another server does. End that one, or name another path"
NO_SOCKET = "can not listen on {path}: expected a path that is free, found a file"


class Listener:
    """A Unix socket that is listened on, and its file, which goes with it."""

    __slots__ = ("_file", "_path", "socket")

    def __init__(self, path: str, bound: socket.socket) -> None:
        self.socket = bound
        self._path = path
        self._file = os.stat(path).st_ino

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        with suppress(OSError):  # it is gone
            if os.stat(self._path).st_ino == self._file:  # and not that of a server after this
                os.unlink(self._path)


def listen(path: str, mode: int) -> Listener:
    """A socket at `path`, in the place of one that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ServeError(NO_SOCKET.format(path=path))
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
        raise ServeError(TAKEN.format(path=path))
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        pass
    bound = socket.socket(socket.AF_UNIX)
    draft = f"{path}~"  # whoever sees the name can connect
    try:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        bound.bind(draft)
        os.chmod(draft, mode)
        bound.listen(socket.SOMAXCONN)
        bound.setblocking(False)
        try:
            os.link(draft, path)
        finally:
            os.unlink(draft)
        return Listener(path, bound)
    except OSError as error:
        bound.close()
        raise OSError(f"can not listen on {path}: {error.strerror or error}") from None
