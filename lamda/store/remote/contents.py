"""Contents: every version that a remote has, and what each needs, as it is there.

Manifests and records are read through the cache of a mirror; sizes and names are those there.
"""

from collections import Counter
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store.remote import attestation, listing
from lamda.store.remote.objects import note
from lamda.store.usage import Row, Usage

if TYPE_CHECKING:
    from lamda.store.remote.mirror import Mirror


class Contents:
    """Every version that a remote has, and what each needs."""

    def __init__(self, mirror: "Mirror") -> None:
        self.mirror = mirror
        self.problems: list[str] = []
        self.names: dict[str, list[str]] = {}
        """The refs of every manifest that has some."""
        self.versions: dict[str, str | None] = {}
        """The address of every version, by manifest; ``None`` where it can not be read."""
        self.needs: dict[str, dict[str, int | None]] = {}
        """The blobs of every version with their sizes; ``None`` for one that nothing tells."""
        self._read()
        bucket, needed = mirror.remote.bucket, {d for each in self.needs.values() for d in each}
        # Listed last: whoever puts a version meanwhile sends its blobs first.
        self.blobs = listing.blobs(bucket) if bucket.listed else mirror.remote.sizes(needed)

    def _read(self) -> None:
        noted = {m: f"sha256:{a}" for a, each in self.mirror.versions().items() for m in each}
        self.noted = noted
        waiting = [*self._heads(), *noted]
        while waiting:
            manifest = waiting.pop()
            if manifest in self.versions:
                continue
            self.versions[manifest], self.needs[manifest] = None, {manifest: None}
            try:
                waiting += self._version(manifest)
            except errors.MissingError:
                continue  # which is told of the blob
            except errors.StoreError as error:
                self.problems.append(str(error))

    def _heads(self) -> list[str]:
        for name in self.mirror.names():
            try:
                if (manifest := self.mirror.head(name)) is not None:
                    self.names.setdefault(manifest, []).append(name)
            except errors.StoreError as error:
                self.problems.append(str(error))
        return [*self.names]

    def _version(self, manifest: str) -> list[str]:
        """Note what a version needs; the version before it."""
        mirror = self.mirror
        self.needs[manifest] |= mirror.sizes(manifest)
        self.versions[manifest] = mirror.config(manifest)["address"]
        said = self.noted.get(manifest, self.versions[manifest])
        if said != self.versions[manifest]:
            told = {"manifest": manifest, "said": said, "found": self.versions[manifest]}
            path = f"{mirror.remote.url}/{note(manifest, str(said))}"
            self.problems.append(errors.OTHER_ADDRESS.format(path=path, **told))
        attestation.fetch(mirror, mirror.remote, manifest, mirror.partial)
        self.needs[manifest] |= mirror.signatures.closure(manifest)
        pred = mirror.before(manifest)
        return [] if pred is None else [pred]

    def needing(self, digest: str) -> list[str]:
        """The addresses of the versions that need a blob."""
        return sorted({self.versions[m] or m for m, needs in self.needs.items() if digest in needs})


def usage(mirror: "Mirror") -> Usage:
    """``mirror.du()``, see :meth:`lamda.store.remote.mirror.Mirror.du`."""
    found = Contents(mirror)
    size = found.blobs
    count = Counter(digest for needs in found.needs.values() for digest in needs)
    rows = [
        Row(
            ref,
            found.versions[manifest] or manifest,
            sum(size.get(d, 0) for d in needs),
            sum(size.get(d, 0) for d in needs if count[d] == 1),
        )
        for manifest, needs in found.needs.items()
        for ref in found.names.get(manifest) or [None]
    ]
    rows.sort(key=lambda row: (row.ref is None, row.ref or "", row.who))
    shared = sum(size.get(d, 0) for d, times in count.items() if times > 1)
    unneeded = sum(n for d, n in size.items() if d not in count)
    return Usage(rows, sum(size.values()), shared, unneeded)
