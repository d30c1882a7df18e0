"""The census: every version of a store, whoever names it, the blobs that it needs, what is wrong.

A lineage is followed here past what can not be read, and so not by :mod:`lamda.store.lineage`.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lamda import errors
from lamda.store import layout, media, reading, shards
from lamda.store.lineage import ancestors

if TYPE_CHECKING:
    from lamda.store.catalogue import Catalogue


class Census:
    """What is said of versions, by refs, notes, versions after them, and manifests by themselves.

    What is wrong is added to ``problems``.
    """

    def __init__(self, store: "Catalogue", problems: list[str]) -> None:
        self.store = store
        self.problems = problems
        self.versions: dict[str, str] = {}
        """The address of every version, by manifest; empty where nobody says it."""
        self.needs: dict[str, dict[str, int]] = {}
        """The blobs of every version, with their sizes; -1 where nobody says it."""
        self.misnoted: list[str] = []
        """Notes of versions under another address: ``<address>/<manifest>``."""
        self._whole: set[str] = set()
        for manifest, said in (*self._heads(), *self._noted(), *self._found()):
            self._take(manifest, said)
        self._sizes()

    def missing(self) -> list[str]:
        """The blobs that are needed and not here."""
        return sorted({d for d, _ in self._all() if not self.store.blobs.has(d)})

    def needing(self, digest: str) -> list[str]:
        """The addresses of the versions that need a blob."""
        found = {self.versions[m] or m for m, sizes in self.needs.items() if digest in sizes}
        return sorted(found)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What is wrong in the block is a problem; what is missing is told as that."""
        try:
            yield
        except errors.MissingError:
            pass
        except (errors.StoreError, OSError) as error:
            self.problems.append(str(error))

    # --- who names versions ---

    def _heads(self) -> Iterator[tuple[str, str]]:
        for ref in self.store.names():
            with self.told():
                if (manifest := self.store.head(ref)) is not None:
                    yield manifest, ""

    def _noted(self) -> Iterator[tuple[str, str]]:
        for path in layout.notes(self.store.path):
            manifest, said = f"sha256:{path.name}", f"sha256:{path.parent.name}"
            found = said
            with contextlib.suppress(errors.LamdaError, OSError):
                found = self.store.config(manifest)["address"]
            if found == said:
                yield manifest, said
            else:
                self.misnoted.append(f"{path.parent.name}/{path.name}")

    def _found(self) -> Iterator[tuple[str, str]]:
        """Versions that nothing names any more, and that are whole."""
        for path in sorted(self.store.blobs.directory.iterdir()):
            manifest = f"sha256:{path.name}"
            with contextlib.suppress(errors.LamdaError, OSError):
                if self.store.blobs.has(manifest) and _is_json(path) and self._is_whole(manifest):
                    yield manifest, self.store.config(manifest)["address"]

    def _is_whole(self, manifest: str) -> bool:
        """Whether a version and all before it are here."""
        chain: list[str] = []
        for at in ancestors(self.store, manifest):
            if at in self._whole:
                break
            if not all(map(self.store.blobs.has, self.store.closure(at))):
                return False
            chain.append(at)
        self._whole |= {*chain}
        return True

    # --- what they say ---

    def _take(self, manifest: str, said: str) -> None:
        """Read a version and those before it, as far as they were not read."""
        at: str | None = manifest
        while at is not None:
            self.versions[at] = self.versions.get(at) or said
            if at in self.needs:
                return
            self.needs[at] = {at: -1}
            record = self._read(at)
            pred = None if record is None else record["pred"]
            at, said = (None, "") if pred is None else (pred["manifest"], pred["address"])

    def _read(self, manifest: str) -> dict[str, Any] | None:
        """Note what a version needs; its record, where it can be read."""
        store, needs, record = self.store, self.needs[manifest], None
        with self.told():
            self.versions[manifest] = store.manifest(manifest)["annotations"][media.ADDRESS]
            needs |= store.sizes(manifest)
            record = store.config(manifest)
        with self.told():
            if (signed := store.signatures.manifest(manifest)) is not None:
                needs[signed] = -1
                needs |= store.signatures.closure(manifest)
        if record is not None:
            with self.told():
                store.before(manifest)
            with self.told():
                if record.get("kind") == media.DATA:
                    shards.read(record, store.blobs)
                else:
                    reading.read(record, store.blobs, lambda: None)
        return record

    def _sizes(self) -> None:
        """A blob has the size that its manifests say."""
        for digest, size in sorted(self._all()):
            with contextlib.suppress(errors.LamdaError):
                found = self.store.blobs.stat(digest).st_size
                if size not in (-1, found):
                    text = errors.OTHER_SIZE.format(digest=digest, size=size, found=found)
                    self.problems.append(text)

    def _all(self) -> set[tuple[str, int]]:
        return {each for sizes in self.needs.values() for each in sizes.items()}


def _is_json(path: Any) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"{"
