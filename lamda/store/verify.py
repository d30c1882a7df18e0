"""Verifying: every blob is what its digest says, and what names blobs names what is there.

A damaged blob is moved to ``quarantine/`` and never deleted; what is derived is made again.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lamda import errors
from lamda.store import damage
from lamda.store.census import Census
from lamda.store.damage import Progress as Progress
from lamda.store.meaning import recomputed
from lamda.store.mending import mend

if TYPE_CHECKING:
    from lamda.store.store import Store


class Report(NamedTuple):
    """What :meth:`lamda.store.Store.verify` has found."""

    checked: int
    """Blobs that were hashed."""
    bytes: int
    versions: int
    """Versions that were checked, of refs and of no ref."""
    bad: dict[str, list[str]]
    """Blobs that are damaged, with the addresses of the versions that need them."""
    missing: dict[str, list[str]]
    """Blobs that are needed and not here."""
    problems: list[str]
    """What else is wrong: what, and what to do."""
    mended: list[str]
    """What was derived, and is made again."""

    @property
    def clean(self) -> bool:
        """Whether every version is whole. What was mended was never lost."""
        return not (self.bad or self.missing or self.problems)


def check(
    store: "Store",
    share: float = 1.0,
    seed: int | None = None,
    deep: bool = False,
    progress: Progress = None,
) -> Report:
    """``store.verify()``, see :meth:`lamda.store.Store.verify`."""
    if not 0 < share <= 1:
        raise errors.SpecError(errors.BAD_SHARE.format(given=share))
    problems: list[str] = []
    chosen = damage.sample(damage.blobs(store, problems), share, seed)
    damaged = [*damage.damaged(store, chosen, problems, progress)]
    store.forget()
    with _still(store):
        census = Census(store, problems)
        missing = {digest: census.needing(digest) for digest in census.missing()}
    bad = {digest: census.needing(digest) for digest in damaged}
    try:
        damage.quarantine(store, bad)
    except OSError as error:
        problems.append(errors.NOT_WRITTEN.format(path=store.path, error=error))
    if deep:
        _deep(store, census)
    mended = mend(store, census)
    hashed = len(chosen), sum(chosen.values())
    return Report(*hashed, len(census.versions), bad, missing, problems, mended)


@contextlib.contextmanager
def _still(store: "Store") -> Iterator[None]:
    """While nobody collects. On a disk that is read-only nobody can, and there is no lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(store.writing())
        yield


def _deep(store: "Store", census: Census) -> None:
    """Recompute addresses, from the tensors and programs as they are."""
    for manifest, address in census.versions.items():
        if not all(map(store.blobs.has, census.needs[manifest])):
            continue
        with census.told():
            found = recomputed(store.config(manifest), store)
            if found != address:
                told = {"manifest": manifest, "said": address, "found": found}
                census.problems.append(errors.OTHER_MEANING.format(**told))


def told(report: Report) -> list[str]:
    """A report as lines."""
    lines = [
        f"{report.checked:,} blobs hashed, {report.bytes:,} bytes; {report.versions:,} versions"
    ]
    for what, found in (("damaged, in quarantine", report.bad), ("missing", report.missing)):
        for digest, needing in found.items():
            lines.append(f"{what}: {digest}, needed by {', '.join(needing) or 'no version'}")
    lines += [f"wrong: {problem}" for problem in report.problems]
    lines += [f"made again: {path}" for path in report.mended]
    return [*lines, "clean" if report.clean else "not clean"]
