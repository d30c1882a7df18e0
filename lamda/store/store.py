"""The store: put a model, get it back by ref or by address, see where it came from."""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lamda import errors
from lamda.diff import Difference
from lamda.model import Model
from lamda.store import checked, layout, lineage, media, packs, reading, source, writing
from lamda.store.blobs import Blobs
from lamda.store.collect import GRACE, Collected, collect
from lamda.store.compared import compare
from lamda.store.files import locked, write_file, written
from lamda.store.packs import Place
from lamda.store.pause import uncollected
from lamda.store.refs import Refs
from lamda.store.remote import transfer
from lamda.store.signatures import Signatures, require, sign_version
from lamda.store.trust import Verify
from lamda.store.usage import Usage, usage
from lamda.store.verify import Progress, Report, check
from lamda.versions import pred


class Version(NamedTuple):
    """A version as :meth:`Store.log` tells it."""

    who: str
    """Its address."""
    pred: str | None
    """The address of the version before."""
    name: str
    """Its term."""
    added: int
    """Bytes of the blobs that it has and its predecessor has not."""


class Store:
    """``Store(path)`` keeps models in a directory: an OCI image layout, made where it is not.

    ``Store("s3://bucket/prefix")`` keeps them there: :class:`~lamda.store.remote.mirror.Mirror`.

    ``verify`` says when the bytes of a blob are hashed before they are used: ``"recorded"``,
    ``"always"``, ``"background"`` or ``"never"``, see :class:`~lamda.store.trust.Verify`.

    >>> import jax.numpy as jnp, lamda as lm, tempfile
    >>> store = Store(tempfile.mkdtemp() + "/store")
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]")
    >>> store.put(f, ref="double") == f.address == store.get("double").address
    True

    Laws: ``get(put(m)) == m`` in address, value and ties; what was put is never overwritten.
    """

    def __new__(cls, path: str | Path, *_: Any, **__: Any) -> "Store":
        if cls is Store and "://" in str(path):
            from lamda.store.remote.mirror import Mirror

            return object.__new__(Mirror)
        return object.__new__(cls)

    def __init__(self, path: str | Path, verify: str = "recorded") -> None:
        self.path = Path(path)
        layout.require(self.path)
        self.blobs = Blobs(self.path, Verify(verify))
        self.signatures = Signatures(self.path, self.blobs)
        self._refs = Refs(self.path, self._index)
        self._manifests = lru_cache(maxsize=16)(self._manifest)
        self._configs = lru_cache(maxsize=16)(self._config)
        layout.write(self.path)

    @classmethod
    def open(cls, path: str | Path, verify: str = "recorded") -> "Store":
        """The store that is there. Raises MissingError where there is none."""
        if "://" not in str(path) and not (Path(path) / "oci-layout").exists():
            raise errors.MissingError(errors.NO_STORE.format(path=str(path)))
        return cls(path, verify)

    # --- writing ---

    def put(self, model: Model, ref: str | None = None, source: bool = False) -> str:
        """Keep a model, and the versions before it; its address. ``ref`` then names it.

        With ``source``, the Python source of its functions is kept too, by cloudpickle: whoever
        gets it with ``trust_source`` has every JAX transformation of them.

        Raises SuccessionError where ``ref`` names a version that is not its predecessor, SpecError
        for what is no name or for source that can not be kept, DiskError where the disk is full or
        can not be written: then the store is as it was.
        """
        with written(self.path):
            if ref is not None:
                self._refs.require_place(ref)
                self._require_place(ref, model, self._refs.get(ref))
            with self.writing():
                digest = self._keep(model, source)
                if ref is not None:
                    self._name(ref, model, digest)
        return model.address

    def remove(self, ref: str) -> None:
        """Remove a name, and nothing but it: :meth:`gc` takes what no name needs.

        Raises MissingError.
        """

        def require(head: str | None) -> None:
            if head is None:
                raise self._no_ref(ref)

        with written(self.path), self.writing():
            self._refs.move(ref, None, require)

    def _keep(self, model: Model, source: bool) -> str:
        """The manifest of a model; it and those before it are written where they are not here."""
        new: list[Model] = []
        at: Model | None = model
        before: str | None = None
        while at is not None and (before := self._kept(at, source)) is None:
            new.append(at)
            at = pred(at)
        for each in reversed(new):
            before = self._write(each, before, source)
            each.remember(("manifest", source), before)
        assert before is not None
        self._note(model.address, before)
        return before

    def _kept(self, model: Model, source: bool) -> str | None:
        """The manifest of a model that was put before, or got, and is whole."""
        digest = model.remembered(("manifest", source))
        if digest is None or not self._version(model.address, digest).exists():
            return None
        whole = self.blobs.has(digest) and all(map(self.blobs.has, self._sizes(digest)))
        return digest if whole else None

    def _write(self, model: Model, before: str | None, source: bool) -> str:
        old = None if before is None else self.config(before)
        known = {} if old is None else _places(old)
        packs.ahead(model, self.blobs)
        entry = writing.write(model, self.blobs, known, source)
        entry["pred"] = None if old is None else {"address": old["address"], "manifest": before}
        record = self.blobs.put([media.canonical(entry)])
        layers = [self._descriptor(media.RECORD, record, "lamda.json"), *self._layers(entry)]
        config = {
            "config": {"format": "safetensors"},
            "descriptor": {"name": entry["name"]},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": media.MANIFEST,
            "artifactType": media.MODEL,
            "config": self._descriptor(media.CONFIG, self.blobs.put([media.canonical(config)])),
            "layers": layers,
            "annotations": {media.ADDRESS: model.address}
            | ({} if before is None else {media.PRED: before}),
        }
        return self.admit(self.blobs.put([media.canonical(manifest)]), model.address)

    def admit(self, manifest: str, address: str) -> str:
        """Make a version whose blobs are all here one of the store's: it can be found."""
        self.blobs.sync()
        self._note(address, manifest)
        return manifest

    def _note(self, address: str, manifest: str) -> None:
        """Note a version, or that it was put again: now is the time that grace is counted from."""
        path = self._version(address, manifest)
        if path.exists():  # its other time says when it was put first
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        else:
            write_file(path, b"")

    def _layers(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        tensors = [t for s in entry["slots"] for t in s["tensors"]]
        shared = {t["blob"] for t in tensors if t["blob"] != t["digest"]}
        files: dict[str, tuple[str, str]] = {}
        for t in tensors:
            name = f"packs/{t['blob'][7:19]}" if t["blob"] in shared else t["path"] or "weights"
            files.setdefault(t["blob"], (media.WEIGHT, f"{name}.safetensors"))
        for f in entry["functions"]:
            files[f["program"]] = media.CODE, f"programs/{f['name']}.jax"
            if "source" in f:
                files[f["source"]] = source.MEDIA, f"source/{f['name']}.pickle"
        return [self._descriptor(kind, digest, path) for digest, (kind, path) in files.items()]

    def _descriptor(self, kind: str, digest: str, path: str | None = None) -> dict[str, Any]:
        size = self.blobs.path(digest).stat().st_size
        return media.descriptor(kind, digest, size, **({} if path is None else {media.PATH: path}))

    def _name(self, ref: str, model: Model, new: str) -> None:
        """Move a ref to a version; where it names the same function already, it stays."""
        if not self._is(model, self._refs.get(ref)):
            self._refs.move(ref, new, lambda head: self._require_place(ref, model, head))

    def _require_place(self, ref: str, model: Model, head: str | None) -> None:
        """Raises SuccessionError where a ref names what is no predecessor of a model."""
        if head is None:
            return
        before, at = pred(model), self.config(head)["address"]
        if (before is None or before.address != at) and not self._is(model, head):
            named = {"ref": ref, "head": at, "new": model.address}
            text = errors.NOT_SUCCESSOR.format(pred=before and before.address, **named)
            raise errors.SuccessionError(text)

    def _is(self, model: Model, manifest: str | None) -> bool:
        """Whether a version is this function, with the same parts frozen."""
        if manifest is None or (kept := self.config(manifest))["address"] != model.address:
            return False
        given = [(s.frozen, list(model.environment[s].digests)) for s in model.slots]
        return given == [(s["frozen"], [t["digest"] for t in s["tensors"]]) for s in kept["slots"]]

    def _index(self, refs: dict[str, str]) -> None:
        """Derive ``index.json`` from the refs, for tools that read OCI layouts."""
        manifests = []
        for ref, digest in sorted(refs.items()):
            with contextlib.suppress(errors.LamdaError):  # :meth:`verify` tells what is wrong
                address = self.manifest(digest)["annotations"][media.ADDRESS]
                entry = self._descriptor(media.MANIFEST, digest) | {"artifactType": media.MODEL}
                named = {media.REF_NAME: ref, media.ADDRESS: address}
                manifests.append(entry | {"annotations": named})
        index = {
            "schemaVersion": 2,
            "mediaType": media.INDEX,
            "manifests": manifests + self.signatures.index(),
        }
        path, data = self.path / "index.json", media.canonical(index)
        if not path.is_file() or path.read_bytes() != data:
            write_file(path, data)

    def sign(self, ref: str, key: str | Path) -> str:
        """Sign the version of a ref with a private key, a PEM file; the keyid of the key.

        What is signed is an in-toto statement about its manifest (docs/store.md). A version may
        have several signatures. Raises MissingError, SpecError.
        """
        keyid = sign_version(self, ref, key)
        self._refs.refresh()
        return keyid

    def signed(self, ref: str, trusted: Any) -> dict[str, Any]:
        """The statement about the version of a ref that one of the trusted keys signed.

        ``trusted`` are public keys: PEM files, or their bytes. The manifest that it is about names
        everything else by digest. Raises StoreError where none of them signed it, or it is not
        what they signed; MissingError.
        """
        return require(self, self.find(ref), trusted, ref)

    def diff(self, a: str, b: str) -> Difference:
        """What changed from one version to another; each is a ref, an address or a manifest.

        It is told from the records; of the tensors that changed alone the numbers are read, a
        piece at a time, for their norms. Raises MissingError, StoreError.
        """
        return compare(self, a, b)

    def writing(self, alone: bool = False) -> AbstractContextManager[None]:
        """While blobs are written that nothing names yet, nothing is collected."""
        return locked(self.path, "lock", alone)

    # --- reading ---

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
            start = ref.removeprefix("sha256:")
            found = self.versions()
            addresses = [a for a in found if a.startswith(start)]
            manifests = [m for each in found.values() for m in each if m[7:].startswith(start)]
            if len(addresses) == 1 and not manifests:
                return self._first(f"sha256:{addresses[0]}", found[addresses[0]])
            if len(manifests) == 1 and not addresses:
                return manifests[0]
            named = self._refs.all().get(ref)
        else:
            named = self._refs.get(ref)
        if named is None:
            raise self._no_ref(ref)
        return named

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
        found = (
            (each.name, [f"sha256:{name}" for _, name in sorted(_noted(each))])
            for each in sorted((self.path / "versions").glob("[0-9a-f]" * 64))
        )
        return {address: manifests for address, manifests in found if manifests}

    def get(self, ref: str, trust_source: bool = False) -> Model:
        """The model of a ref or an address; its tensors are read-only memory maps.

        Nothing of a tensor is read before it is used. The model runs, differentiates and composes
        by its stored programs; no Python code is read, unless ``trust_source`` asks for it: that
        warns, and is noted in ``trusted.log``. Raises MissingError, StoreError.
        """
        return self._get(self.find(ref), trust_source)

    def _get(self, digest: str, trust_source: bool) -> Model:
        with uncollected():
            manifest, entry = self.manifest(digest), self.config(digest)
        if trust_source and any("source" in f for f in entry["functions"]):
            source.note(self.path, entry["address"])
        for layer in (manifest["config"], *manifest["layers"]):
            self.blobs.admit(layer["digest"], layer["size"])
        self.blobs.trust.flush()

        def earlier() -> Model | None:
            before = self.before(digest)
            return None if before is None else self._get(before, trust_source)

        python = self._source if trust_source else _none
        with uncollected():
            model = reading.read(entry, self.blobs, earlier, python)
        model.remember(("manifest", any("source" in f for f in entry["functions"])), digest)
        return model

    def _source(self, function: dict[str, Any]) -> Any:
        return source.restored(self.blobs.get(function["source"])) if "source" in function else None

    def log(self, ref: str) -> list[Version]:
        """The version of a ref and all before it, newest first."""
        versions: list[Version] = []
        at: str | None = self.find(ref)
        while at is not None:
            entry, before = self.config(at), self.before(at)
            old = {} if before is None else self._sizes(before)
            added = sum(n for d, n in self._sizes(at).items() if d not in old)
            address = None if before is None else self.config(before)["address"]
            versions.append(Version(entry["address"], address, entry["name"], added))
            at = before
        return versions

    def record(self, ref: str) -> dict[str, Any]:
        """What is stored of a model, as data: term, types, tensors; nothing is loaded."""
        return self.config(self.find(ref))

    def closure(self, manifest: str) -> dict[str, int]:
        """Every blob that a version needs, with its size; the versions before it not counted."""
        own = {manifest: self.blobs.stat(manifest).st_size, **self._sizes(manifest)}
        return own | self.signatures.closure(manifest)

    def _sizes(self, manifest: str) -> dict[str, int]:
        found = self.manifest(manifest)
        return {b["digest"]: b["size"] for b in [found["config"], *found["layers"]]}

    def before(self, manifest: str) -> str | None:
        """The manifest of the version before; it is the one that is said. Raises StoreError."""
        entry = self.config(manifest)
        if (said := entry["pred"]) is None:
            return None
        if (found := self.config(said["manifest"])["address"]) != said["address"]:
            told = {"manifest": said["manifest"], "said": said["address"], "found": found}
            raise errors.StoreError(errors.OTHER_PRED.format(who=entry["address"], **told))
        return said["manifest"]

    def config(self, manifest: str) -> dict[str, Any]:
        """The record of a version; not to be changed."""
        return self._configs(manifest)

    def _config(self, manifest: str) -> dict[str, Any]:
        found = self.manifest(manifest)
        digest = media.record(found)["digest"]
        return checked.config(digest, self.blobs.get(digest), found)

    def manifest(self, digest: str) -> dict[str, Any]:
        """A manifest, as data; not to be changed."""
        return self._manifests(digest)

    def _manifest(self, digest: str) -> dict[str, Any]:
        return checked.manifest(digest, self.blobs.get(digest))

    def _version(self, address: str, manifest: str) -> Path:
        return self.path / "versions" / self.blobs.path(address).name / manifest[7:]

    # --- remotes ---

    def push(self, remote: str, ref: str, depth: int | None = None) -> transfer.Moved:
        """Send the version of a ref, and those before it, to a remote; what that took.

        ``remote`` is a URL, ``oci://host/repository[:tag]``; its tag is the ref, if it has none.
        Only what is missing there is sent; ``depth`` is how many versions are sent at most.

        Raises SuccessionError where the tag names a version that is not before this one,
        RemoteError where the remote does not answer; MissingError, SpecError, StoreError.
        """
        return transfer.push(self, transfer.opened(self, remote), ref, depth)

    def pull(self, remote: str, ref: str | None = None) -> str:
        """Fetch the version that a remote's URL names, and those before it; its address.

        ``ref`` then names it, by default the ref that the URL names. Everything is verified
        before it is kept. Raises as :meth:`push`.
        """
        return transfer.pull(self, transfer.opened(self, remote), ref).address

    def advance(self, ref: str, manifest: str) -> None:
        """A ref names a version that is here, if it named none or one before it.

        Where it names one after it already, it stays. Raises SuccessionError.
        """
        lineage.advance(self, self._refs, ref, manifest)

    # --- exchange ---

    def import_weights(
        self,
        path: str | Path,
        into: Model | str,
        ref: str | None = None,
        rename: Mapping[str, str] | None = None,
        strict: bool = True,
        input: Any = None,
    ) -> str:
        """Put the successor of a model that has the weights of a file; its address.

        ``path`` is a safetensors file (or the index of several), a Flax ``.msgpack`` or an Orbax
        directory. ``into`` is a ref, which moves, an address, or a model; an open one is closed by
        the file, with ``input`` as :meth:`Model.init` takes it. Names are paths with ``/`` or
        ``.``; ``rename`` maps a name, or the beginning of names, to ours. Unless ``strict=False``,
        nothing may be missing or left.

        Raises SpecError, which lists all that does not fit; MissingError, StoreError,
        SuccessionError.
        """
        from lamda.store.exchange.versions import bring

        return bring(self, path, into, ref, rename, strict, input)

    def import_layout(self, path: str | Path) -> dict[str, str]:
        """Bring in what another tool wrote as an OCI layout: every ref with its address.

        ``path`` may be the directory of this store. Everything is hashed, every address is
        computed again. Raises StoreError, SuccessionError, MissingError.
        """
        from lamda.store.exchange.layout import adopt

        return adopt(self, path)

    def export(self, ref: str, path: str | Path) -> int:
        """Write all weights of a version, by path: how many tensors there are.

        The name of ``path`` says the format: ``.safetensors``, ``.msgpack`` (Flax) or ``.orbax``.
        Raises SpecError, MissingError.
        """
        from lamda.store import exchange
        from lamda.store.exchange.naming import exported

        model = self.get(ref)
        weights = exported(model)
        exchange.write(path, weights, model.address)
        return len(weights)

    # --- care ---

    def derive(self) -> bool:
        """Derive ``index.json`` again; whether it was another."""
        path = self.path / "index.json"
        before = path.read_bytes() if path.is_file() else None
        if before is None and not self._refs.names():
            return False
        self._refs.refresh()
        return before != path.read_bytes()

    def forget(self) -> None:
        """Read manifests and records anew: they are remembered."""
        self._manifests.cache_clear()
        self._configs.cache_clear()

    def gc(self, grace: float = GRACE, dry: bool = False) -> Collected:
        """Take what no ref needs, and nothing that was put in the last ``grace`` seconds.

        A ref needs its version and all before it. It waits until nobody writes. With ``dry``,
        nothing is taken: what would be is told. Raises MissingError, StoreError where a version
        that is needed can not be read: then nothing is taken.
        """
        return collect(self, grace, dry)

    def verify(
        self,
        share: float = 1.0,
        seed: int | None = None,
        deep: bool = False,
        progress: Progress = None,
    ) -> Report:
        """Hash the blobs, all or a random share, and check all that names them.

        What is damaged is moved to ``quarantine/``, and put again by a :meth:`put` of the model.
        What is derived (``index.json``, ``versions/``) is made again where it is wrong. ``deep``
        recomputes the address of every version. ``progress(done, all)`` is called with bytes.
        """
        return check(self, share, seed, deep, progress)

    def du(self) -> Usage:
        """What every version needs on the disk, and what of it no other version does."""
        return usage(self)


def _places(config: dict[str, Any]) -> dict[str, Place]:
    """Where the tensors of a version are."""
    tensors = (t for s in config["slots"] for t in s["tensors"])
    return {t["digest"]: Place(t["blob"], t["offset"]) for t in tensors}


def _noted(folder: Path) -> Iterator[tuple[int, str]]:
    """What is noted of an address: when, and which manifest."""
    with contextlib.suppress(OSError):  # it was collected just now
        for path in folder.iterdir():
            if checked.DIGEST.fullmatch(f"sha256:{path.name}"):
                yield path.stat().st_mtime_ns, path.name


def _none(_: dict[str, Any]) -> None:
    return None
