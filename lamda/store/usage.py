"""Usage: what every version needs on the disk, and what of it is its own."""

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lamda.store import layout
from lamda.store.lineage import together

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
    names: dict[str, list[str]] = {}
    for ref, manifest in store.heads().items():
        names.setdefault(manifest, []).append(ref)
    noted = (f"sha256:{note.name}" for note in layout.notes(store.path))
    needs = {m: store.closure(m) for m in together(store, [*names, *noted])}
    count = Counter(digest for sizes in needs.values() for digest in sizes)
    rows = [
        Row(
            ref,
            store.config(manifest)["address"],
            sum(sizes.values()),
            sum(size for digest, size in sizes.items() if count[digest] == 1),
        )
        for manifest, sizes in needs.items()
        for ref in names.get(manifest) or [None]
    ]
    rows.sort(key=lambda row: (row.ref is None, row.ref or "", row.who))
    files = _files(store)
    sizes = {digest: size for each in needs.values() for digest, size in each.items()}
    shared = sum(size for digest, size in sizes.items() if count[digest] > 1)
    unneeded = sum(size for digest, size in files.items() if digest not in sizes)
    return Usage(rows, sum(files.values()), shared, unneeded)


def _files(store: "Store") -> dict[str, int]:
    """Every file among the blobs with its size."""
    found: dict[str, int] = {}
    for path in store.blobs.directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was collected just now
            found[f"sha256:{path.name}"] = path.lstat().st_size
    return found


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
