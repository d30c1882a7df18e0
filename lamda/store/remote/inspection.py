"""Inspection: the blobs of a remote are what their digests say, whatever was fetched before.

They are streamed and hashed, and kept nowhere. What is damaged is moved to ``quarantine/`` there;
who has it here, and right, sends it again.
"""

import contextlib
import hashlib
import math
import random
import threading
from typing import TYPE_CHECKING

from lamda import errors
from lamda.store.checked import DIGEST
from lamda.store.meaning import recomputed
from lamda.store.remote import listing
from lamda.store.remote.contents import Contents
from lamda.store.remote.objects import blob, note
from lamda.store.remote.pieces import Pieces
from lamda.store.remote.progress import Progress as Bar
from lamda.store.verify import Progress, Report

if TYPE_CHECKING:
    from lamda.store.remote.mirror import Mirror


def verify(
    mirror: "Mirror", share: float, seed: int | None, deep: bool, progress: Progress
) -> Report:
    """``mirror.verify()``, see :meth:`lamda.store.remote.mirror.Mirror.verify`."""
    if not 0 < share <= 1:
        raise errors.SpecError(errors.BAD_SHARE.format(given=share))
    return _Check(mirror).run(share, seed, deep, progress)


class _Check:
    def __init__(self, mirror: "Mirror") -> None:
        mirror.forget()
        self.mirror = mirror
        self.found = Contents(mirror)
        self.problems = self.found.problems
        self.mended: list[str] = []
        self.writable = mirror.remote.bucket.listed

    def run(self, share: float, seed: int | None, deep: bool, progress: Progress) -> Report:
        chosen = self._chosen(share, seed)
        bad = {d: self.found.needing(d) for d in self._damaged(chosen, progress)}
        missing = {d: self.found.needing(d) for d in self._missing()}
        for digest in bad if self.writable else ():
            self.mirror.remote.bucket.move(blob(digest), f"quarantine/{digest[7:]}")
        for told in (bad, missing):
            for digest in [d for d in told if self._sent_again(d)]:
                del told[digest]
        if deep:
            self._deep({*bad, *missing})
        if self.writable:
            self._mend()
        sizes = sum(self.found.blobs[d] for d in chosen)
        count = len(self.found.versions)
        return Report(len(chosen), sizes, count, bad, missing, self.problems, self.mended)

    # --- bytes ---

    def _chosen(self, share: float, seed: int | None) -> list[str]:
        """The blobs to hash."""
        names = sorted(d for d in self.found.blobs if DIGEST.fullmatch(d))
        for other in self.found.blobs.keys() - {*names}:
            path = f"{self.mirror.remote.url}/blobs/sha256/{other[7:]}"
            self.problems.append(errors.NO_BLOB_NAME.format(path=path))
        if share == 1 or not names:
            return names
        return sorted(random.Random(seed).sample(names, math.ceil(share * len(names))))

    def _damaged(self, chosen: list[str], progress: Progress) -> list[str]:
        total, done, lock = sum(self.found.blobs[d] for d in chosen), 0, threading.Lock()
        with Bar("verify", total, self.mirror.show) as bar:

            def right(digest: str) -> bool:
                nonlocal done
                # What went wrong on its way is right when it is asked for again.
                holds = self._right(digest, bar) or self._right(digest, bar)
                with lock:
                    done += self.found.blobs[digest]
                    if progress is not None:
                        progress(done, total)
                return holds

            rights = self.mirror.remote.bucket.each(right, chosen)
        return [digest for digest, holds in zip(chosen, rights, strict=True) if not holds]

    def _right(self, digest: str, bar: Bar) -> bool:
        sha = hashlib.sha256()
        try:
            for data in self.mirror.blobs.arriving(digest, self.found.blobs[digest], bar.tell):
                sha.update(data)
        except errors.StoreError:
            return False
        return f"sha256:{sha.hexdigest()}" == digest

    def _missing(self) -> list[str]:
        """What is needed and not there, or has another size."""
        needed = {d: n for needs in self.found.needs.values() for d, n in needs.items()}
        for digest, size in needed.items():
            there = self.found.blobs.get(digest)
            if None not in (there, size) and there != size:
                told = {"digest": digest, "size": size, "found": there}
                self.problems.append(errors.OTHER_SIZE.format(**told))
        return sorted(needed.keys() - self.found.blobs.keys())

    def _sent_again(self, digest: str) -> bool:
        """Whether a blob that is wrong there is right here, and was sent again."""
        blobs = self.mirror.blobs
        if not self.writable or not blobs.has(digest):
            return False
        try:
            blobs.hash(digest)
        except errors.StoreError:
            return False
        data = blobs.map(digest)
        self.mirror.remote.put(digest, len(data), Pieces(data))
        self.mended.append(blob(digest))
        return True

    # --- meaning, and what is derived ---

    def _deep(self, wrong: set[str]) -> None:
        """Recompute addresses, from the tensors and programs as they are."""
        for manifest, address in self.found.versions.items():
            if address is None or wrong & self.found.needs[manifest].keys():
                continue
            try:
                self.mirror.bring(manifest)
                found = recomputed(self.mirror.config(manifest), self.mirror)
                if found != address:
                    told = {"manifest": manifest, "said": address, "found": found}
                    self.problems.append(errors.OTHER_MEANING.format(**told))
            except errors.StoreError as error:
                self.problems.append(str(error))

    def _mend(self) -> None:
        """Make the notes of versions and the index again where they are wrong."""
        remote = self.mirror.remote
        for manifest, address in self.found.versions.items():
            if address is not None and manifest not in self.found.noted:
                remote.bucket.write(note(manifest, address), b"")
                self.mended.append(note(manifest, address))
        with contextlib.suppress(errors.StoreError):
            if remote.derive():
                self.mended.append(listing.INDEX)
