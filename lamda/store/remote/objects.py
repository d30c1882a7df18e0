"""Objects: a store under a prefix of a bucket, laid out as a directory is.

``s3://``, ``gs://``, ``az://``, ``http://`` and ``https://`` (read only), ``file://``, ``memory://``.
Keys and endpoints come from where the vendor's tools look: ``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` and so on.
"""

import contextlib
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lamda import errors
from lamda.store import media
from lamda.store.refs import is_name
from lamda.store.remote import OBJECTS
from lamda.store.remote.pieces import PIECE, Pieces
from lamda.store.remote.swap import Swap

T = TypeVar("T")

AT_ONCE = 8
"""Requests at a time; parts of one blob at a time."""
PART = 8 << 20
LONGEST = 64 << 20
"""Bytes of a manifest, a ref or an index that are read at all."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Objects:
    """``Objects("s3://bucket/prefix#ref")``: a remote; ``options`` go to obstore.

    Raises SpecError for what is no URL of objects, or where obstore is not installed.

    >>> remote = Objects("memory://")
    >>> remote.move("m", "sha256:" + 64 * "0", expected=None)
    >>> list(remote.refs()), remote.many_writers
    (['m'], True)
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.url, _, name = url.partition("#")
        self.name = name or None
        self._store = _opened(self.url, options)
        self._swap = Swap(self._store)

    @property
    def many_writers(self) -> bool:
        """Whether refs may be moved by several at a time: the server honours conditions.

        Found out once, with an object that is removed again. Where it is not so, two writers
        that move one ref at the same moment may both be told that they did.
        """
        return self._try(lambda: self._swap.honoured)

    # --- blobs ---

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their sizes."""
        asked = [*digests]
        found = self.each(lambda digest: self._size(_blob(digest)), asked)
        return {d: size for d, size in zip(asked, found, strict=True) if size is not None}

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self._size(_blob(digest)) is not None

    def get(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on; what comes is not yet verified.

        Raises MissingError; ConnectionError where more would come if it is asked again.
        """
        import obstore

        options: Any = {"range": {"offset": offset}} if offset else {}
        path = _blob(digest)
        try:
            yield from map(bytes, obstore.get(self._store, path, options=options).stream(PIECE))
        except Exception as error:
            raise self._error(error, path) from error

    def put(self, digest: str, size: int, chunks: Iterable[bytes | memoryview]) -> None:
        """Send a blob; a large one in parts. What has not the digest is not kept there.

        Raises StoreError, ConnectionError.
        """
        import obstore

        self._require_writable()
        pieces = _checked(digest, chunks)
        if size <= PART:
            self._write(_blob(digest), b"".join(pieces))
            return
        self._try(
            lambda: obstore.put(
                self._store, _blob(digest), pieces, chunk_size=PART, max_concurrency=AT_ONCE
            )
        )

    # --- manifests ---

    def manifest(self, name: str) -> bytes | None:
        """The bytes of the manifest of a ref or a digest; not yet verified."""
        digest = name if _DIGEST.fullmatch(name) else self.ref(name)
        return None if digest is None else self._read(_blob(digest))

    def kept(self, manifest: str, address: str) -> bool:
        """Whether a version is there, whole: it was sent after its blobs."""
        mark = f"versions/{address[7:]}/{manifest[7:]}"
        return self._size(mark) is not None and self.has(manifest)

    def commit(self, manifest: str, data: bytes, address: str) -> None:
        """Send a manifest whose blobs are there: the version can be found by its address."""
        self.put(manifest, len(data), [data])
        if self._size("oci-layout") is None:
            self._write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        self._write(f"versions/{address[7:]}/{manifest[7:]}", b"")

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they came."""
        found: dict[str, list[str]] = {}
        if self.url.startswith("http"):
            for _, digest, address in self._indexed():
                found.setdefault(str(address)[7:], []).append(digest)
            return found
        for entry in sorted(self._list("versions"), key=lambda e: (e["last_modified"], e["path"])):
            match = re.fullmatch(r"versions/([0-9a-f]{64})/([0-9a-f]{64})", entry["path"])
            if match:
                found.setdefault(match[1], []).append(f"sha256:{match[2]}")
        return found

    # --- signatures ---

    def attest(self, manifest: str, data: bytes) -> None:
        """Send the manifest of the signatures of a version, whose blobs are there."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.put(digest, len(data), [data])
        self._write(f"signatures/{manifest[7:]}", digest.encode())

    def attested(self, manifest: str) -> bytes | None:
        """The manifest of the signatures of a version; not yet verified."""
        path = f"signatures/{manifest[7:]}"
        digest = self._digest(path, self._read(path))
        return None if digest is None else self._read(_blob(digest))

    # --- refs ---

    def ref(self, name: str) -> str | None:
        """The digest of the manifest that a ref names there. Raises StoreError."""
        if not is_name(name):
            return None
        return self._digest(f"refs/{name}", self._read(f"refs/{name}"))

    def names(self) -> list[str]:
        """Every ref there; over plain HTTP, which lists nothing, out of the index."""
        if self.url.startswith("http"):
            return [name for name, _, _ in self._indexed()]
        listed = (entry["path"].removeprefix("refs/") for entry in self._list("refs"))
        return sorted(filter(is_name, listed))

    def refs(self) -> dict[str, str]:
        """Every ref there with the digest of its manifest."""
        names = self.names()
        found = zip(names, self.each(self.ref, names), strict=True)
        return {name: digest for name, digest in found if digest is not None}

    def move(self, name: str, new: str, expected: str | None) -> None:
        """A ref names another manifest, from where it is thought to be.

        Warns where the server does not compare: see :attr:`many_writers`. Raises SuccessionError
        where it is elsewhere, SpecError for what is no name.
        """
        if not is_name(name):
            raise errors.SpecError(errors.BAD_REF.format(ref=name))
        self._require_writable()
        path = f"refs/{name}"
        old = None if expected is None else expected.encode()
        if self._try(lambda: self._swap(path, new.encode(), old)):
            if not self.many_writers:
                warnings.warn(errors.ONE_WRITER.format(url=self.url), stacklevel=2)
            self._index()
            return
        head = self.ref(name)
        text = errors.REF_MOVED.format(ref=name, url=self.url, head=head, expected=expected)
        raise errors.SuccessionError(text)

    def remove(self, name: str) -> None:
        """Remove the name of a version, and nothing else."""
        import obstore

        if self.ref(name) is not None:
            self._try(lambda: obstore.delete(self._store, f"refs/{name}"))
            self._index()

    def _digest(self, path: str, text: bytes | None) -> str | None:
        if text is None:
            return None
        found = text.decode(errors="replace")
        if not _DIGEST.fullmatch(found):
            named = {"path": f"{self.url}/{path}", "text": found[:80]}
            raise errors.StoreError(errors.BAD_REF_FILE.format(**named))
        return found

    def _index(self) -> None:
        """Derive ``index.json`` from the refs, for tools that read OCI layouts."""
        refs = self.refs()
        sizes = self.sizes(dict.fromkeys(refs.values()))
        addresses = {m: f"sha256:{address}" for address, ms in self.versions().items() for m in ms}
        manifests = []
        for ref, digest in refs.items():
            names = {media.REF_NAME: ref, media.ADDRESS: addresses.get(digest, "")}
            entry = media.descriptor(media.MANIFEST, digest, sizes.get(digest, 0), **names)
            manifests.append(entry | {"artifactType": media.MODEL})
        index = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": manifests}
        self._write("index.json", media.canonical(index))

    def _indexed(self) -> list[tuple[str, str, str]]:
        """The name, manifest and address of every ref, as the index tells it."""
        path = f"{self.url}/index.json"
        try:
            entries = json.loads(self._read("index.json") or b"{}").get("manifests", [])
            told = [(e["annotations"], e["digest"]) for e in entries]
            named = [(a[media.REF_NAME], d, a.get(media.ADDRESS, "")) for a, d in told]
            return [each for each in named if is_name(each[0]) and _DIGEST.fullmatch(each[1])]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            text = errors.BAD_INDEX.format(path=path, error=error)
            raise errors.StoreError(text) from error

    # --- objects ---

    def each(self, ask: Callable[[str], T], of: list[str]) -> list[T]:
        """What is asked of each, several at a time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return [*pool.map(ask, of)]

    def _require_writable(self) -> None:
        if self.url.startswith("http"):
            raise errors.SpecError(errors.ONLY_READ.format(url=self.url))

    def _size(self, path: str) -> int | None:
        import obstore

        with contextlib.suppress(FileNotFoundError, errors.MissingError):
            return self._try(lambda: obstore.head(self._store, path)["size"], path)
        return None

    def _read(self, path: str) -> bytes | None:
        """A small object; ``None`` where there is none."""
        import obstore

        def read() -> bytes:
            found = obstore.get(self._store, path)
            if found.meta["size"] > LONGEST:
                text = errors.TOO_LONG.format(path=f"{self.url}/{path}", size=found.meta["size"])
                raise errors.StoreError(text)
            return bytes(found.bytes())

        with contextlib.suppress(errors.MissingError):
            return self._try(read, path)
        return None

    def _write(self, path: str, data: bytes) -> None:
        import obstore

        self._try(lambda: obstore.put(self._store, path, data, use_multipart=False), path)

    def _list(self, prefix: str) -> list[Any]:
        import obstore

        batches = self._try(lambda: [*obstore.list(self._store, prefix)])
        return [entry for batch in batches for entry in batch]

    def _try(self, ask: Callable[[], T], path: str = "") -> T:
        try:
            return ask()
        except Exception as error:
            raise self._error(error, path) from error

    def _error(self, error: Exception, path: str) -> Exception:
        """An error of obstore as one of ours; others as they are."""
        from obstore.exceptions import BaseError

        where = f"{self.url}/{path}".rstrip("/")
        if isinstance(error, FileNotFoundError):
            return errors.MissingError(errors.NO_OBJECT.format(path=where))
        if not isinstance(error, BaseError | PermissionError | NotImplementedError):
            return error
        said = str(error).split("\n", 1)[0][:300]
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
    if scheme == "file":
        Path(path).mkdir(parents=True, exist_ok=True)
    if scheme == "http":
        options = {"client_options": {"allow_http": True}} | options
    try:
        return from_url(url, **options)
    except (BaseError, ValueError) as error:
        said = str(error).split("\n", 1)[0]
        raise errors.SpecError(f"{errors.BAD_OBJECTS.format(url=url, known=said)}") from error


def _blob(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise errors.StoreError(errors.BAD_DIGEST.format(digest=digest))
    return f"blobs/sha256/{digest[7:]}"


def _checked(digest: str, chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The chunks; ends in an error, so that nothing is kept, where they have another digest."""
    sha = hashlib.sha256()
    for chunk in chunks:
        for piece in Pieces(memoryview(chunk)):
            sha.update(piece)
            yield piece
    found = f"sha256:{sha.hexdigest()}"
    if found != digest:
        raise errors.StoreError(errors.OTHER_BYTES.format(digest=digest, found=found))
