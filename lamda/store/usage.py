"""Usage: what every version needs on the disk, and what of it is its own."""

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lamda.store.collect import entries

if TYPE_CHECKING:
    from lamda.store.store import Store


class Row(NamedTuple):
    """A version; the versions before it are rows of their own."""

    ref: str | None
    """A ref that names it; one row for each."""
    who: str
    """Its address."""
    total: int
    """Bytes of the blobs that it needs."""
    exclusive: int
    """Bytes of those that no other version needs: what is free when it is collected."""


class Usage(NamedTuple):
    """Rows, and bytes of all blobs together."""

    versions: list[Row]
    total: int
    shared: int
    """Bytes that several versions need."""
    unneeded: int
    """Bytes that no version needs: ``gc`` takes them."""


def usage(store: "Store") -> Usage:
    """``store.du()``, see :meth:`lamda.store.Store.du`."""
    names: dict[str, list[str | None]] = {f"sha256:{p.name}": [] for p in entries(store.path)}
    for ref, manifest in store.heads().items():
        names.setdefault(manifest, []).append(ref)
    needs = {manifest: store.closure(manifest) for manifest in names}
    count = Counter(digest for sizes in needs.values() for digest in sizes)
    sizes = {digest: size for each in needs.values() for digest, size in each.items()}
    rows = [
        Row(
            ref,
            store.config(manifest)["address"],
            sum(needs[manifest].values()),
            sum(size for digest, size in needs[manifest].items() if count[digest] == 1),
        )
        for manifest, refs in names.items()
        for ref in refs or [None]
    ]
    rows.sort(key=lambda row: (row.ref is None, row.ref or "", row.who))
    total = sum(p.lstat().st_size for p in store.blobs.directory.iterdir())
    shared = sum(size for digest, size in sizes.items() if count[digest] > 1)
    return Usage(rows, total, shared, max(0, total - sum(sizes.values())))


def table(found: Usage) -> list[str]:
    """Usage as aligned lines."""
    rows = [("ref", "version", "bytes", "of its own")]
    rows += [
        (r.ref or "-", r.who[7:19], f"{r.total:,}", f"{r.exclusive:,}") for r in found.versions
    ]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{ref:<{wide[0]}}  {who:<{wide[1]}}  {total:>{wide[2]}}  {own:>{wide[3]}}"
        for ref, who, total, own in rows
    ]
    sums = f"{found.total:,} bytes: {found.shared:,} shared, {found.unneeded:,} of no version"
    return [*lines, sums]
