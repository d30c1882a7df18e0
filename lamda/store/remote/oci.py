"""Any OCI registry as a remote (https://github.com/opencontainers/distribution-spec).

A ref is a tag. Each version has a tag of its own too, ``v-`` and the beginning of its address: a
registry deletes what no tag names, and a predecessor is only named by an annotation. Registries
do not compare before they swap: one repository has one writer at a time.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from lamda import errors
from lamda.store import media, signatures
from lamda.store.remote.location import Location, ref_of, tag_of
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.tags import LARGEST, Tags
from lamda.store.remote.upload import Upload
from lamda.store.remote.uploads import Holders, Uploads
from lamda.store.remote.wire import Wire

_THREADS = 8
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = {"Accept": f"{media.MANIFEST}, {media.INDEX}, {_DOCKER}, */*"}
"""All kinds: a registry hides what is not accepted, and what is hidden would be put over."""


class Registry:
    """A repository of a registry."""

    def __init__(self, location: Location, local: Path) -> None:
        self.location = location
        self.url = str(location)
        self._wire = Wire(location)
        self._uploads = Uploads(local, location.base)
        self._holders = Holders(local, location.host)

    @classmethod
    def open(cls, url: str, local: Path) -> "Registry":
        """The repository of a URL. Raises SpecError."""
        return cls(Location.parse(url), local)

    @property
    def name(self) -> str | None:
        """The ref or the digest that stood in the URL; a tag of a version is its digest.

        Raises MissingError where there is no such version, ConnectionError.
        """
        return self._name

    @cached_property
    def _name(self) -> str | None:
        tag = self.location.name
        if tag is None or tag.startswith("sha256:"):
            return tag
        return ref_of(tag) or self._head(tag) or self._missing(tag)

    def _missing(self, tag: str) -> str:
        raise errors.MissingError(errors.NO_REMOTE_REF.format(ref=tag, url=self.url))

    # --- what is there ---

    def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their sizes."""
        with ThreadPoolExecutor(_THREADS) as pool:
            wanted = list(digests)
            found = zip(wanted, pool.map(self._size, wanted), strict=True)
            return {digest: size for digest, size in found if size is not None}

    def _size(self, digest: str) -> int | None:
        answer = self._wire.ask("HEAD", f"{self.location.base}/blobs/{digest}", (200, 404))
        self._wire.end(answer)
        size = answer.headers.get("Content-Length", "")
        known = answer.status == 200 and re.fullmatch(r"\d{1,18}", size)
        return int(size) if known else None

    def get(self, digest: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from an offset on."""
        asked = {"Range": f"bytes={offset}-"} if offset else {}
        url = f"{self.location.base}/blobs/{digest}"
        answer = self._wire.ask("GET", url, (200, 206, 404), asked, again=False)
        if answer.status == 404:
            self._wire.end(answer)
            raise errors.MissingError(errors.NO_REMOTE_BLOB.format(digest=digest, url=self.url))
        skip = offset if answer.status == 200 else 0
        begins = answer.headers.get("Content-Range", "")
        if answer.status == 206 and not begins.startswith(f"bytes {offset}-"):
            self._wire.end(answer)
            raise self._wire.wrong(f"it was asked for bytes from {offset} on and gave {begins!r}")
        for data in self._wire.stream(answer):
            yield data[skip:]
            skip = max(0, skip - len(data))

    def manifest(self, name: str) -> bytes | None:
        """The bytes of the manifest of a ref or a digest."""
        return self._read(name if name.startswith("sha256:") else tag_of(name))

    def _read(self, tag: str) -> bytes | None:
        url = f"{self.location.base}/manifests/{tag}"
        answer = self._wire.ask("GET", url, (200, 404), _ACCEPT)
        if answer.status == 404:
            self._wire.end(answer)
            return None
        data = self._wire.read(answer, LARGEST)
        said, found = answer.headers.get("Docker-Content-Digest"), _digest(data)
        if said is not None and said.startswith("sha256:") and said != found:
            raise self._wire.wrong(f"it calls the manifest {found} {said[:80]!r}")
        return data

    def ref(self, name: str) -> str | None:
        """The digest of the manifest that a ref names there."""
        return self._head(tag_of(name))

    def refs(self) -> dict[str, str]:
        """Every ref there with the digest of its manifest."""
        refs = {ref: tag for tag in Tags(self._wire) if (ref := ref_of(tag))}
        with ThreadPoolExecutor(_THREADS) as pool:
            heads = dict(zip(refs, pool.map(self._head, refs.values()), strict=True))
        return {ref: head for ref, head in heads.items() if head is not None}

    def _head(self, tag: str) -> str | None:
        url = f"{self.location.base}/manifests/{tag}"
        answer = self._wire.ask("HEAD", url, (200, 404), _ACCEPT)
        self._wire.end(answer)
        if answer.status == 404:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return digest
        data = self._read(tag)
        return None if data is None else _digest(data)

    # --- versions ---

    def kept(self, manifest: str, address: str) -> bool:
        """Whether a version is there, by a tag of its own."""
        return any(self._head(tag) == manifest for tag in _tags(manifest, address))

    def commit(self, manifest: str, data: bytes, address: str) -> None:
        """Send the manifest of a version, with a tag of its own."""
        short, long = _tags(manifest, address)
        self._tag(long if self._head(short) not in (None, manifest) else short, data, {})

    def attest(self, manifest: str, data: bytes) -> None:
        """Send the manifest of the signatures of a version, with a tag as cosign has it."""
        self._tag(signatures.tag(manifest), data, {})

    def attested(self, manifest: str) -> bytes | None:
        """The manifest of the signatures of a version."""
        return self._read(signatures.tag(manifest))

    def move(self, name: str, new: str, expected: str | None) -> None:
        """A tag names another manifest. Raises SuccessionError where it is elsewhere.

        A registry that knows conditions keeps them; of others the last writer wins.
        """
        data = self.manifest(new)
        if data is None:
            raise errors.MissingError(errors.NO_REMOTE_REF.format(ref=new, url=self.url))
        held = {"If-None-Match": "*"} if expected is None else {"If-Match": f'"{expected}"'}
        if self.ref(name) == expected and self._tag(tag_of(name), data, held):
            return
        # A put whose answer was lost is sent again, and finds that it was there already.
        if (found := self.ref(name)) != new:
            named = {"url": self.url, "ref": name, "head": found, "new": new}
            raise errors.SuccessionError(errors.REMOTE_MOVED.format(**named))

    def _tag(self, tag: str, data: bytes, conditions: dict[str, str]) -> bool:
        """Whether a manifest was put at a tag: a condition may not hold."""
        head = {"Content-Type": media.MANIFEST, **conditions}
        url = f"{self.location.base}/manifests/{tag}"
        answer = self._wire.ask("PUT", url, (200, 201, 202, 412), head, data)
        self._wire.end(answer)
        return answer.status != 412

    # --- blobs ---

    def put(self, digest: str, size: int, chunks: Pieces) -> None:
        """Send a blob, in chunks where it is large; a broken connection is taken up again."""
        holder = self._held.get(digest)
        other = None if holder == self.location.repository else holder
        Upload(self._wire, self._uploads, digest, chunks, other).run()
        if holder != self.location.repository:
            self._holders.saw(digest, self.location.repository)

    @cached_property
    def _held(self) -> dict[str, str]:
        return self._holders.all()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _tags(manifest: str, address: str) -> tuple[str, str]:
    """The tag of a version, and the one that it has where another of its address has that."""
    short = f"v-{address[7:19]}"
    return short, f"{short}-{manifest[7:19]}"
