"""The cache of a mirror: blobs that are fetched where they are not here, or are not right here."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lamda import errors
from lamda.store.blobs import Blobs
from lamda.store.remote.arrival import SLOWEST, TRIES
from lamda.store.remote.bucket import LONGEST
from lamda.store.remote.objects import Objects
from lamda.store.trust import Verify

Tell = Callable[[int], None]


def _quiet(_: int) -> None:
    return None


class Cache(Blobs):
    """Blobs of which the truth is elsewhere: what is damaged here is fetched again."""

    def __init__(self, root: Path, verify: Verify, remote: Objects) -> None:
        super().__init__(root, verify)
        self._remote = remote

    def get(self, digest: str) -> bytes:
        try:
            return super().get(digest)
        except errors.StoreError:
            self._drop(digest)
            return super().get(digest)

    def map(self, digest: str) -> memoryview:
        self.bring(digest, LONGEST)
        return super().map(digest)

    def admit(self, digest: str, size: int) -> None:
        self.bring(digest, size)
        try:
            super().admit(digest, size)
        except errors.StoreError:
            self._drop(digest)
            self.bring(digest, size)
            super().admit(digest, size)

    def bring(self, digest: str, most: int, tell: Tell = _quiet) -> None:
        """Fetch a blob that is not here, of ``most`` bytes. Raises MissingError, StoreError."""
        if not self.has(digest):
            self.put(self.arriving(digest, most, tell), digest)

    def arriving(self, digest: str, most: int, tell: Tell = _quiet) -> Iterator[bytes]:
        """The bytes of a blob from there; where the connection breaks they go on from there.

        Raises StoreError where more than ``most`` come; MissingError, ConnectionError.
        """
        came, tries, before = 0, 0, 0
        while True:
            try:
                for chunk in self._remote.get(digest, came):
                    came += len(chunk)
                    if came > most:
                        path = f"{self._remote.url}/{digest}"
                        raise errors.StoreError(errors.TOO_LONG.format(path=path, size=came))
                    yield chunk
                    tell(len(chunk))
                return
            except ConnectionError:
                tries = 1 if came - before >= SLOWEST else tries + 1
                before = came
                if tries == TRIES:
                    raise

    def _drop(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)
