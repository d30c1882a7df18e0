"""The catalogue: what is in a store, by ref, address and digest, and what is said of it there."""

import contextlib
import re
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.store import checked, index, layout, media
from lamda.store.blobs import Blobs
from lamda.store.files import written
from lamda.store.refs import Refs, is_name
from lamda.store.signatures import Signatures
from lamda.store.trust import Verify


class Catalogue:
    """A store as it is read: nothing here changes it, but that it is made where it is not."""

    def __init__(self, path: str | Path, verify: str = "recorded") -> None:
        self.path = Path(path)
        layout.require(self.path)
        with written(self.path):
            self.blobs = Blobs(self.path, Verify(verify))
            layout.write(self.path)
        self.signatures = Signatures(self.path, self.blobs)
        self._refs = Refs(self.path, partial(index.derive, self))
        self._manifests = lru_cache(maxsize=16)(self._manifest)
        self._configs = lru_cache(maxsize=16)(self._config)

    # --- refs and addresses ---

    def refs(self) -> dict[str, str]:
        """Every ref with the address that it names."""
        return {ref: self.config(digest)["address"] for ref, digest in self._refs.all().items()}

    def heads(self) -> dict[str, str]:
        """Every ref with the manifest that it names."""
        return self._refs.all()

    def names(self) -> list[str]:
        """Every ref, whether or not its file can be read."""
        return self._refs.names()

    def head(self, ref: str) -> str | None:
        """The manifest that a ref names; ``None`` where there is none."""
        return self._refs.get(ref)

    def resolve(self, ref: str) -> str:
        """The address that a ref names; an address, or its beginning, names itself.

        Raises MissingError.
        """
        return self.config(self.find(ref))["address"]

    def find(self, ref: str) -> str:
        """The digest of the manifest that a ref, an address or a manifest's digest names.

        Of several versions of one address, with other names or other parts frozen, an address
        names the one that was put first. Raises MissingError.
        """
        if re.fullmatch(r"(sha256:)?[0-9a-f]{8,64}", ref):
            found = self._starting(ref.removeprefix("sha256:"))
        else:
            found = None
        if found is None and is_name(ref):
            found = self._refs.get(ref)
        if found is None:
            raise self._no_ref(ref)
        return found

    def _starting(self, start: str) -> str | None:
        """The one version whose address or manifest begins so; ``None`` where it is not one."""
        found = self.versions()
        addresses = [a for a in found if a.startswith(start)]
        manifests = [m for each in found.values() for m in each if m[7:].startswith(start)]
        if len(addresses) == 1 and not manifests:
            return self._first(f"sha256:{addresses[0]}", found[addresses[0]])
        return manifests[0] if len(manifests) == 1 and not addresses else None

    def _no_ref(self, ref: str) -> errors.MissingError:
        known = ", ".join(self._refs.names()) or "none yet"
        return errors.MissingError(errors.NO_REF.format(ref=ref, path=self.path, refs=known))

    def _first(self, address: str, manifests: list[str]) -> str:
        """The first version that is noted for an address, and has it. Raises StoreError."""
        found = self.config(manifests[0])["address"]
        if found != address:
            told = {"manifest": manifests[0], "said": address, "found": found}
            path = self._version(address, manifests[0])
            raise errors.StoreError(errors.OTHER_ADDRESS.format(path=path, **told))
        return manifests[0]

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they were put."""
        noted: dict[str, list[tuple[int, str]]] = {}
        for path in layout.notes(self.path):
            with contextlib.suppress(OSError):  # it was collected just now
                noted.setdefault(path.parent.name, []).append((path.stat().st_mtime_ns, path.name))
        return {
            address: [f"sha256:{name}" for _, name in sorted(each)]
            for address, each in sorted(noted.items())
        }

    def _version(self, address: str, manifest: str) -> Path:
        """The note of a version."""
        return self.path / layout.NOTES / self.blobs.path(address).name / manifest[7:]

    # --- what is said of a version ---

    def record(self, ref: str) -> dict[str, Any]:
        """What is stored of a model, as data: term, types, tensors; nothing is loaded."""
        return self.config(self.find(ref))

    def manifest(self, digest: str) -> dict[str, Any]:
        """A manifest, as data; not to be changed."""
        return self._manifests(digest)

    def _manifest(self, digest: str) -> dict[str, Any]:
        return checked.manifest(digest, self.blobs.get(digest))

    def config(self, manifest: str) -> dict[str, Any]:
        """The record of a version; not to be changed."""
        return self._configs(manifest)

    def _config(self, manifest: str) -> dict[str, Any]:
        found = self.manifest(manifest)
        digest = media.record(found)["digest"]
        return checked.config(digest, self.blobs.get(digest), found)

    def kind(self, manifest: str) -> str:
        """Whether a version is a ``"model"`` or ``"data"``."""
        return self.config(manifest).get("kind", media.MODEL_KIND)

    def require_kind(self, ref: str, manifest: str, kind: str) -> None:
        """Raises SpecError where a version is of the other kind."""
        if self.kind(manifest) != kind:
            raise errors.SpecError(errors.OTHER_KIND[kind].format(ref=ref))

    def before(self, manifest: str) -> str | None:
        """The manifest of the version before; it is the one that is said. Raises StoreError."""
        entry = self.config(manifest)
        if (said := entry["pred"]) is None:
            return None
        if (found := self.config(said["manifest"])["address"]) != said["address"]:
            told = {"manifest": said["manifest"], "said": said["address"], "found": found}
            raise errors.StoreError(errors.OTHER_PRED.format(who=entry["address"], **told))
        if entry.get("shards", [])[:-1] != self.config(said["manifest"]).get("shards", []):
            told = {"who": entry["address"], "pred": said["address"]}
            raise errors.StoreError(errors.DATA_SHARDS.format(**told))
        return said["manifest"]

    def closure(self, manifest: str) -> dict[str, int]:
        """Every blob that a version needs, with its size; the versions before it not counted."""
        own = {manifest: self.blobs.stat(manifest).st_size, **self.sizes(manifest)}
        return own | self.signatures.closure(manifest)

    def sizes(self, manifest: str) -> dict[str, int]:
        """The blobs that a manifest names, with their sizes."""
        found = self.manifest(manifest)
        return {b["digest"]: b["size"] for b in [found["config"], *found["layers"]]}

    def forget(self) -> None:
        """Read manifests and records anew: they are remembered."""
        self._manifests.cache_clear()
        self._configs.cache_clear()
