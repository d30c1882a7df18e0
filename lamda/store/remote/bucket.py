"""A bucket: small and large objects by their paths under a URL, by obstore, with our errors."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lamda import errors
from lamda.store.remote import OBJECTS
from lamda.store.remote.pieces import PIECE

T = TypeVar("T")

AT_ONCE = 8
"""Requests at a time; parts of one object at a time."""
PART = 8 << 20
LONGEST = 64 << 20
"""Bytes of what is read as a whole: a manifest, a ref or an index."""
TIMEOUT = {"timeout": "300s", "connect_timeout": "10s"}
"""Of a whole request: a part of an object goes up in that even where the wire is slow."""
_VENDORS = {"s": "AWS", "g": "GOOGLE", "a": "AZURE"}
_CLIENT = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout")


class Bucket:
    """The objects under a URL; ``options`` go to obstore. Raises SpecError for what is no URL."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.listed = not url.startswith("http")
        """Whether objects can be listed, and written; over plain HTTP they are only read."""
        self.objects = _opened(url, options)

    def size(self, path: str) -> int | None:
        """The size of an object; ``None`` where there is none."""
        import obstore

        with contextlib.suppress(errors.MissingError):
            return self.ask(lambda: obstore.head(self.objects, path)["size"], path)
        return None

    def read(self, path: str) -> bytes | None:
        """A small object; ``None`` where there is none. Raises StoreError for a large one."""
        import obstore

        def read() -> bytes:
            found = obstore.get(self.objects, path)
            if found.meta["size"] > LONGEST:
                text = errors.TOO_LONG.format(path=f"{self.url}/{path}", size=found.meta["size"])
                raise errors.StoreError(text)
            return bytes(found.bytes())

        with contextlib.suppress(errors.MissingError):
            return self.ask(read, path)
        return None

    def stream(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """An object from an offset on. Raises MissingError; ConnectionError where it breaks."""
        import obstore

        options: Any = {"range": {"offset": offset}} if offset else {}
        try:
            yield from map(bytes, obstore.get(self.objects, path, options=options).stream(PIECE))
        except Exception as error:
            raise self._error(error, path) from error

    def write(self, path: str, data: bytes) -> None:
        """Write a small object in one step."""
        import obstore

        self.require_writable()
        self.ask(lambda: obstore.put(self.objects, path, data, use_multipart=False), path)

    def write_parts(self, path: str, pieces: Iterator[bytes | memoryview]) -> None:
        """Write a large object in parts; where ``pieces`` raises, nothing of it is kept."""
        import obstore

        self.require_writable()
        self.ask(
            lambda: obstore.put(
                self.objects, path, pieces, chunk_size=PART, max_concurrency=AT_ONCE
            ),
            path,
        )

    def move(self, path: str, to: str) -> None:
        """Give an object another path."""
        import obstore

        self.ask(lambda: obstore.rename(self.objects, path, to), path)

    def delete(self, path: str) -> None:
        """Remove an object."""
        import obstore

        self.ask(lambda: obstore.delete(self.objects, path), path)

    def list(self, prefix: str) -> list[Any]:
        """The objects below a prefix: ``path``, ``size``, ``last_modified`` of each."""
        import obstore

        batches = self.ask(lambda: [*obstore.list(self.objects, prefix)], prefix)
        return [entry for batch in batches for entry in batch]

    def each(self, ask: Callable[[str], T], of: Sequence[str]) -> Sequence[T]:
        """What is asked of each, several at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [*pool.map(ask, of)]

    def require_writable(self) -> None:
        """Raises SpecError where objects are only read."""
        if not self.listed:
            raise errors.SpecError(errors.ONLY_READ.format(url=self.url))

    def ask(self, ask: Callable[[], T], path: str = "") -> T:
        """What is answered. Raises MissingError, StoreError, ConnectionError."""
        try:
            return ask()
        except Exception as error:
            raise self._error(error, path) from error

    def _error(self, error: Exception, path: str) -> Exception:
        """An error of obstore as one of ours; others as they are."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        where = f"{self.url}/{path}".rstrip("/")
        if isinstance(error, FileNotFoundError):
            return errors.MissingError(errors.NO_OBJECT.format(path=where))
        if not isinstance(error, BaseError | PermissionError | NotImplementedError):
            return error
        said = str(error).split("\n", 1)[0][:300]
        if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
            return errors.StoreError(errors.NOT_ALLOWED.format(path=where, error=said))
        return ConnectionError(errors.NO_ANSWER.format(path=where, error=said))


def _opened(url: str, options: dict[str, Any]) -> Any:
    """The objects of a URL. Raises SpecError."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        text = errors.NO_EXTRA.format(package="obstore", extra="remote")
        raise errors.SpecError(text) from None
    scheme, _, path = url.partition("://")
    if scheme not in OBJECTS:
        raise errors.SpecError(errors.BAD_OBJECTS.format(url=url, known=", ".join(OBJECTS)))
    if scheme in ("http", "https") and "@" in urlsplit(url).netloc:
        raise errors.SpecError(
            errors.URL_SECRET.format(host=urlsplit(url).netloc.rpartition("@")[2])
        )
    if scheme == "file":
        Path(path).mkdir(parents=True, exist_ok=True)
    elif scheme != "memory":
        client = TIMEOUT | _client(scheme) | options.get("client_options", {})
        options = options | {"client_options": client}
    try:
        return from_url(url, **options)
    except (BaseError, ValueError) as error:
        said = str(error).split("\n", 1)[0]
        raise errors.SpecError(errors.BAD_OBJECTS.format(url=url, known=said)) from error


def _client(scheme: str) -> dict[str, Any]:
    """What the environment says of connections, which obstore forgets where any of it is given."""
    if scheme.startswith("http"):
        return {"allow_http": scheme == "http"}
    named = {key: f"{_VENDORS[scheme[0]]}_{key.upper()}" for key in _CLIENT}
    return {key: os.environ[name] for key, name in named.items() if name in os.environ}
