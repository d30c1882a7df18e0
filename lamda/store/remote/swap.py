"""Swap: an object becomes another only from what it is thought to be.

By conditional puts, ``If-None-Match: *`` and ``If-Match`` (RFC 9110, 13.1). Some servers take the
conditions and do not look at them, so it is tried out, once, with an object that is removed again.
"""

import contextlib
import secrets
from functools import cached_property
from typing import Any


class Swap:
    """``swap(path, new, old)``: whether an object that was ``old`` is ``new``; ``None`` is none.

    >>> from obstore.store import MemoryStore
    >>> swap = Swap(MemoryStore())
    >>> swap("a", b"1", None), swap("a", b"2", None), swap("a", b"2", b"1"), swap.honoured
    (True, False, True, True)
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def __call__(self, path: str, new: bytes, old: bytes | None) -> bool:
        found, mark = self._found(path)
        if found == new:
            return True
        if found != old:
            return False
        if not self.honoured:
            self._put(path, new, "overwrite")
            return True
        # A put whose answer was lost is sent again, and finds that it was there already.
        return self._put(path, new, "create" if old is None else mark) or self._is(path, new)

    @cached_property
    def honoured(self) -> bool:
        """Whether conditions are: what must be refused is refused, what must not is not."""
        import obstore

        path = f".probe/{secrets.token_hex(8)}"
        wrong = {"e_tag": '"0123456789abcdef0123456789abcdef"', "version": "1"}
        try:
            made = self._put(path, b"1", "create")
            again = self._put(path, b"2", "create")
            wrongly = self._put(path, b"3", wrong)
            rightly = self._put(path, b"4", self._found(path)[1])
            return (made, again, wrongly, rightly) == (True, False, False, True)
        except NotImplementedError:
            return False
        finally:
            with contextlib.suppress(Exception):  # who may not remove it leaves one byte there
                obstore.delete(self._store, path)

    def _found(self, path: str) -> tuple[bytes | None, Any]:
        """What an object is now, and what a server knows it by."""
        import obstore

        try:
            result = obstore.get(self._store, path)
        except FileNotFoundError:
            return None, None
        mark = {k: v for k in ("e_tag", "version") if (v := result.meta.get(k))}
        return bytes(result.bytes()), mark

    def _is(self, path: str, new: bytes) -> bool:
        return self._found(path)[0] == new

    def _put(self, path: str, data: bytes, mode: Any) -> bool:
        """Whether the condition held. Raises NotImplementedError where there are none."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        try:
            obstore.put(self._store, path, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except NotSupportedError as error:
            raise NotImplementedError(str(error)) from error
        return True
