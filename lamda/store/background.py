"""Hashing in the background: a thread hashes blobs while the model is in use already."""

import threading
from collections import deque
from collections.abc import Callable

from lamda import errors


class Background:
    """Blobs that wait to be hashed by ``hash``, and the errors of those that were."""

    def __init__(self, hash: Callable[[str], None]) -> None:
        self._hash = hash
        self._waiting: deque[str] = deque()
        self._seen: set[str] = set()
        self._failed: dict[str, errors.LamdaError] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, digest: str) -> None:
        """Hash a blob some time soon, once."""
        with self._lock:
            if digest in self._seen:
                return
            self._seen.add(digest)
            self._waiting.append(digest)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def require(self, digest: str) -> None:
        """Raises StoreError where the blob was hashed, and is not what its digest says."""
        if digest in self._failed:
            raise self._failed[digest]

    def forget(self, digest: str) -> None:
        """The blob was written anew."""
        self._seen.discard(digest)
        self._failed.pop(digest, None)

    def join(self) -> None:
        """Wait until nothing waits."""
        if (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                digest = self._waiting.popleft()
            try:
                self._hash(digest)
            except errors.LamdaError as error:
                self._failed[digest] = error
            except OSError as error:
                self._failed[digest] = errors.StoreError(str(error))
