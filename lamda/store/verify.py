"""Verifying: every blob is what its digest says, and what names blobs names what is there.

A damaged blob is moved to ``quarantine/`` and never deleted; what is derived is made again.
"""

import contextlib
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lamda import errors
from lamda.model import Model
from lamda.store import media, reading
from lamda.store.checked import DIGEST
from lamda.store.collect import entries
from lamda.store.files import make_directory, sync_directory, write_file
from lamda.tensor import Tensor

if TYPE_CHECKING:
    from lamda.store.store import Store

Progress = Callable[[int, int], None] | None


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
    return _Check(store).run(share, seed, deep, progress)


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


class _Check:
    def __init__(self, store: "Store") -> None:
        self.store = store
        self.problems: list[str] = []
        self.mended: list[str] = []
        self.versions: dict[str, str] = {}
        """The address of every version, by manifest."""
        self.needs: dict[str, dict[str, int]] = {}
        """The blobs of every version that can be read, with their sizes."""
        self.whole: set[str] = set()

    def run(self, share: float, seed: int | None, deep: bool, progress: Progress) -> Report:
        chosen = self._choose(share, seed)
        damaged = [path.name for path in self._hash(chosen, progress)]
        self.store.forget()
        self._read_versions()
        moved = self._quarantine([f"sha256:{name}" for name in damaged])
        missing = {d: self._needing(d) for d in self._missing() if d not in moved}
        if deep:
            self._deep()
        self._mend()
        return Report(
            len(chosen), sum(chosen.values()), len(self.versions), moved, missing,
            self.problems, self.mended,
        )  # fmt: skip

    # --- bytes ---

    def _choose(self, share: float, seed: int | None) -> dict[Path, int]:
        """The blobs to hash, with their sizes."""
        found: dict[Path, int] = {}
        for path in sorted(self.store.blobs.directory.iterdir()):
            if path.is_symlink() or not path.is_file():
                self.problems.append(errors.BLOB_LINK.format(path=path))
            elif DIGEST.fullmatch(f"sha256:{path.name}"):
                found[path] = path.stat().st_size
            elif not path.name.endswith(".tmp"):
                self.problems.append(errors.NO_BLOB_NAME.format(path=path))
        if share == 1 or not found:
            return found
        picked = random.Random(seed).sample([*found], math.ceil(share * len(found)))
        return {path: found[path] for path in sorted(picked)}

    def _hash(self, chosen: dict[Path, int], progress: Progress) -> Iterator[Path]:
        """The blobs that are damaged."""
        done, total = 0, sum(chosen.values())
        for path, size in chosen.items():
            with contextlib.suppress(errors.MissingError):  # it was collected just now
                if not self._right(f"sha256:{path.name}"):
                    yield path
            done += size
            if progress is not None:
                progress(done, total)
        self.store.blobs.trust.flush()

    def _right(self, digest: str) -> bool:
        try:
            self.store.blobs.hash(digest)
        except errors.StoreError:
            return False
        return True

    def _quarantine(self, damaged: list[str]) -> dict[str, list[str]]:
        """Move what is damaged away, and note who needs it."""
        bad = {digest: self._needing(digest) for digest in damaged}
        try:
            if bad:
                with self.store.writing(alone=True):
                    for digest, needing in bad.items():
                        self._move(digest, needing)
        except OSError as error:
            text = errors.NOT_WRITTEN.format(path=self.store.path, error=error)
            self.problems.append(text)
        return bad

    def _move(self, digest: str, needing: list[str]) -> None:
        blobs = self.store.blobs
        if not blobs.has(digest) or self._right(digest):  # somebody was faster
            return
        make_directory(blobs.quarantine)
        write_file(blobs.quarantine / f"{digest[7:]}.needed", "\n".join(needing).encode())
        os.replace(blobs.path(digest), blobs.quarantine / digest[7:])
        sync_directory(blobs.quarantine)
        sync_directory(blobs.directory)

    # --- versions ---

    def _read_versions(self) -> None:
        """Read every version that a ref, a note or another version names."""
        waiting: list[tuple[str, str | None]] = [*self._heads(), *self._noted(), *self._found()]
        while waiting:
            manifest, said = waiting.pop()
            if manifest in self.versions and said is not None:
                continue
            self.versions.setdefault(manifest, said or "")
            if manifest in self.needs:
                continue
            with self._told(manifest):
                found = self.store.manifest(manifest)
                self.versions[manifest] = found["annotations"][media.ADDRESS]
                self.needs[manifest] = dict(self.store.closure(manifest))
                entry = self.store.config(manifest)
                self.needs[manifest] |= self.store.signatures.closure(manifest)
                if (pred := entry["pred"]) is not None:
                    waiting.append((pred["manifest"], pred["address"]))
                    self.store.before(manifest)
                reading.read(entry, self.store.blobs, lambda: None)
        self._sizes()

    @contextlib.contextmanager
    def _told(self, manifest: str) -> Iterator[None]:
        """What is wrong with a version is a problem; what is missing is told as that."""
        try:
            yield
        except errors.MissingError:
            self.needs.setdefault(manifest, {manifest: -1})
        except errors.StoreError as error:
            self.needs.setdefault(manifest, {manifest: -1})
            self.problems.append(str(error))

    def _heads(self) -> Iterator[tuple[str, None]]:
        for ref in self.store.names():
            try:
                if (manifest := self.store.head(ref)) is not None:
                    yield manifest, None
            except errors.LamdaError as error:
                self.problems.append(str(error))

    def _noted(self) -> Iterator[tuple[str, str]]:
        for path in [*entries(self.store.path)]:
            manifest, said = f"sha256:{path.name}", f"sha256:{path.parent.name}"
            try:
                found = self.store.config(manifest)["address"]
            except errors.LamdaError:
                found = said
            if found == said:
                yield manifest, said
            else:
                path.unlink()
                self.mended.append(str(path.relative_to(self.store.path)))

    def _found(self) -> Iterator[tuple[str, str]]:
        """Versions that nothing names any more, and that are whole."""
        for path in self.store.blobs.directory.iterdir():
            manifest = f"sha256:{path.name}"
            with contextlib.suppress(errors.LamdaError, OSError):
                if _is_json(path) and self._whole(manifest):
                    yield manifest, self.store.config(manifest)["address"]

    def _whole(self, manifest: str) -> bool:
        """Whether a version and all before it are here."""
        chain: list[str] = []
        at: str | None = manifest
        while at is not None and at not in self.whole:
            if not all(map(self.store.blobs.has, self.store.closure(at))):
                return False
            chain.append(at)
            at = self.store.before(at)
        self.whole |= {*chain}
        return True

    def _sizes(self) -> None:
        """A blob has the size that its manifests say."""
        for digest, size in self._all_needed():
            with contextlib.suppress(errors.LamdaError):
                found = self.store.blobs.stat(digest).st_size
                if size not in (-1, found):
                    text = errors.OTHER_SIZE.format(digest=digest, size=size, found=found)
                    self.problems.append(text)

    def _all_needed(self) -> set[tuple[str, int]]:
        return {each for sizes in self.needs.values() for each in sizes.items()}

    def _missing(self) -> list[str]:
        return sorted({d for d, _ in self._all_needed() if not self.store.blobs.has(d)})

    def _needing(self, digest: str) -> list[str]:
        """The addresses of the versions that need a blob."""
        found = {self.versions[m] or m for m, sizes in self.needs.items() if digest in sizes}
        return sorted(found)

    # --- meaning ---

    def _deep(self) -> None:
        """Recompute addresses, from the tensors and programs as they are."""
        for manifest, address in self.versions.items():
            if not all(map(self.store.blobs.has, self.needs[manifest])):
                continue
            with self._told(manifest):
                found = recomputed(self.store.config(manifest), self.store)
                if found != address:
                    text = errors.OTHER_MEANING.format(manifest=manifest, said=address, found=found)
                    self.problems.append(text)

    # --- what is derived ---

    def _mend(self) -> None:
        """Make ``versions/`` and ``index.json`` again where they are wrong."""
        try:
            with self.store.writing():
                for manifest, address in self.versions.items():
                    self._mend_note(manifest, address)
                if self.store.derive():
                    self.mended.append("index.json")
        except OSError as error:
            text = errors.NOT_WRITTEN.format(path=self.store.path, error=error)
            self.problems.append(text)

    def _mend_note(self, manifest: str, address: str) -> None:
        if not address or not self.store.blobs.has(manifest):
            return
        path = self.store.path / "versions" / address[7:] / manifest[7:]
        if not path.exists():
            self.store.admit(manifest, address)
            self.mended.append(str(path.relative_to(self.store.path)))


def _is_json(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"{"


def recomputed(entry: dict[str, Any], store: "Store") -> str:
    """The address of a record, from its bytes alone. Raises StoreError where it has none."""
    try:
        model = reading.read(entry, store.blobs, lambda: None)
        for path, tensor, _ in model.tensors():
            if Tensor(tensor.array).digest != tensor.digest:
                raise ValueError(f"the tensor {'/'.join(path)} is not what its digest says")
        for function in entry["functions"]:
            _require_program(function, store)
        return Model(
            model.term, model.environment, model.input, model.output, where=reading.WHERE
        ).address
    except (errors.StoreError, errors.MissingError, OSError):
        raise
    except Exception as error:  # whatever running what is stored does
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_CONFIG.format(digest=entry["address"], why=why)
        raise errors.StoreError(text) from error


def _require_program(function: dict[str, Any], store: "Store") -> None:
    """Raises ValueError where a program is not what its digest says."""
    from jax import export

    from lamda import types
    from lamda.digest import digest

    program = export.deserialize(bytearray(store.blobs.get(function["program"])))
    free = sum(1 for _ in types.leaves(types.from_json(function["weights"])))
    if digest(program, free).value != function["digest"]:
        raise ValueError(f"the program of {function['name']} is not what its digest says")
