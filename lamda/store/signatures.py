"""Signatures of versions: who vouches for a manifest, kept beside it as blobs.

``signatures/<manifest hex>`` holds, as a ref does, the digest of a small manifest whose layers are
the envelopes. In a registry its tag is ``sha256-<manifest hex>.att``, as cosign has it. It is not
the ``subject`` of anything, for registries delete what refers by that.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamda import errors, sign
from lamda.store import checked, media, pointer
from lamda.store.blobs import Blobs
from lamda.store.files import locked, sync_directory, write_file
from serve.bundle import dsse, signed
from serve.errors import SignatureError

if TYPE_CHECKING:
    from lamda.store.store import Store

FOLDER = "signatures"
EMPTY = "application/vnd.oci.empty.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
SIGNS = "dev.lamda.signs"


class Signatures:
    """The directory ``signatures`` of a store."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self.blobs = blobs

    def manifest(self, version: str) -> str | None:
        """The manifest of the signatures of a version; ``None`` where it is not signed."""
        try:
            return pointer.digest(self._path(version))
        except FileNotFoundError:
            return None

    def closure(self, version: str) -> dict[str, int]:
        """Every blob of the signatures of a version, with its size."""
        if (manifest := self.manifest(version)) is None:
            return {}
        return {manifest: self.blobs.stat(manifest).st_size, **self._sizes(manifest)}

    def envelopes(self, version: str) -> list[bytes]:
        """The envelopes of a version."""
        manifest = self.manifest(version)
        return [] if manifest is None else [*map(self.blobs.get, self._layers(manifest))]

    def add(self, version: str, envelopes: Iterable[bytes]) -> str:
        """Keep envelopes beside those that a version has; the manifest of all of them.

        Blobs are written before the file that names them: call it inside of ``Store.writing()``.
        """
        with locked(self.root, "signatures.lock"):
            before = self.manifest(version)
            known = [] if before is None else self._layers(before)
            layers = sorted({*known, *(self.blobs.put([each]) for each in envelopes)})
            manifest = self.blobs.put([media.canonical(self._described(version, layers))])
            self.blobs.sync()
            if manifest != before:
                write_file(self._path(version), manifest.encode())
        return manifest

    def admit(self, version: str, manifest: str) -> str:
        """Take the signatures of a version from a manifest whose blobs are all here."""
        return self.add(version, map(self.blobs.get, self._layers(manifest)))

    def versions(self) -> list[str]:
        """The versions that are signed: their manifests."""
        files = sorted((self.root / FOLDER).glob("[0-9a-f]" * 64))
        return [f"sha256:{file.name}" for file in files]

    def drop(self, versions: Iterable[str]) -> None:
        """Forget the signatures of versions that are collected, for good."""
        paths = [self._path(version) for version in versions]
        for path in paths:
            path.unlink(missing_ok=True)
        if paths:
            sync_directory(self.root / FOLDER)

    def index(self) -> list[dict[str, Any]]:
        """What ``index.json`` says of them, for tools that read OCI layouts."""
        entries = []
        for version in self.versions():
            with contextlib.suppress(errors.LamdaError, OSError):  # told where it is asked for
                entries.append(self._entry(version))
        return entries

    def _entry(self, version: str) -> dict[str, Any]:
        manifest = self.manifest(version) or ""
        size = self.blobs.stat(manifest).st_size
        named = {media.REF_NAME: tag(version), SIGNS: version}
        return media.descriptor(media.MANIFEST, manifest, size, **named)

    def _described(self, version: str, layers: Sequence[str]) -> dict[str, Any]:
        size = {digest: self.blobs.stat(digest).st_size for digest in layers}
        told = {"predicateType": signed.PROVENANCE}
        return {
            "schemaVersion": 2,
            "mediaType": media.MANIFEST,
            "artifactType": ENVELOPE,
            "config": media.descriptor(EMPTY, self.blobs.put([b"{}"]), 2),
            "layers": [media.descriptor(ENVELOPE, d, size[d], **told) for d in layers],
            "annotations": {SIGNS: version},
        }

    def _sizes(self, manifest: str) -> dict[str, int]:
        """Every blob that a manifest of signatures names, with its size. Raises StoreError."""
        named = self._json(manifest)
        with self._read(manifest):
            return dict(map(checked.named, (named["config"], *named["layers"])))

    def _layers(self, manifest: str) -> list[str]:
        named = self._json(manifest)
        with self._read(manifest):
            return [checked.named(layer)[0] for layer in named["layers"]]

    def _json(self, digest: str) -> Any:
        try:
            return dsse.parsed(self.blobs.get(digest), digest)
        except SignatureError as error:
            raise errors.StoreError(str(error)) from None

    @contextlib.contextmanager
    def _read(self, manifest: str) -> Iterator[None]:
        """What is no manifest of signatures is told as that."""
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            text = errors.BAD_SIGNATURES.format(digest=manifest, error=repr(error))
            raise errors.StoreError(text) from None

    def _path(self, version: str) -> Path:
        self.blobs.path(version)  # which refuses what is no digest
        return self.root / FOLDER / version.removeprefix("sha256:")


def tag(version: str) -> str:
    """The tag of the signatures of a version in a registry, as cosign has it."""
    return f"{version.replace(':', '-')}.att"


def sign_version(store: "Store", ref: str, key: str | Path) -> str:
    """Sign the version that a ref names; the keyid. Raises MissingError, SpecError."""
    with store.writing():
        version = store.find(ref)
        payload = sign.statement(version, ref, provenance(store.config(version)))
        keyid, envelope = sign.envelope(payload, key)
        store.signatures.add(version, [envelope])
    return keyid


def require(store: "Store", version: str, keys: Any, what: str) -> dict[str, Any]:
    """The statement about a version that one of the keys signed. Raises StoreError."""
    found = sign.require(store.signatures.envelopes(version), version, keys, what)
    sign.require_address(found, store.config(version)["address"], what)
    return found


def vouched(store: "Store", ref: str, keys: Sequence[Any]) -> dict[str, Any] | None:
    """The statement about a ref's version that one of the keys signed; every blob is hashed.

    Without keys nobody has to have signed it. Raises StoreError, MissingError.
    """
    version = store.find(ref)
    found = require(store, version, keys, ref) if keys else None
    for layer in store.manifest(version)["layers"]:
        store.blobs.check(layer["digest"], store.blobs.map(layer["digest"]))
    return found


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """Where a version comes from, as its record tells."""
    receipt = record.get("receipt")
    return {
        "address": record["address"],
        "pred": record["pred"],
        "programs": [f["program"] for f in record.get("functions", [])],
        "receipt": receipt,
        "data": None if receipt is None else receipt["data"],
    }
