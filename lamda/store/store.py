"""The store: put a model, get it back by ref or by address, see where it came from."""

import json
import re
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from lamda import errors
from lamda.model import Model
from lamda.store import media, reading, source, writing
from lamda.store.blobs import Blobs
from lamda.store.files import locked, write_file
from lamda.store.packs import Place
from lamda.store.refs import Refs
from lamda.store.trust import Verify
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

    ``verify`` says when the bytes of a blob are hashed before they are used: ``"recorded"``,
    ``"always"``, ``"background"`` or ``"never"``, see :class:`~lamda.store.trust.Verify`.

    >>> import jax.numpy as jnp, lamda as lm, tempfile
    >>> store = Store(tempfile.mkdtemp() + "/store")
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]")
    >>> store.put(f, ref="double") == f.address == store.get("double").address
    True

    Laws: ``get(put(m)) == m`` in address, value and ties; what was put is never overwritten.
    """

    def __init__(self, path: str | Path, verify: str = "recorded") -> None:
        self.path = Path(path)
        self.blobs = Blobs(self.path, Verify(verify))
        self._refs = Refs(self.path, self._index)
        self._json = lru_cache(maxsize=16)(lambda digest: json.loads(self.blobs.get(digest)))
        layout = self.path / "oci-layout"
        if not layout.exists():
            write_file(layout, b'{"imageLayoutVersion":"1.0.0"}')

    @classmethod
    def open(cls, path: str | Path, verify: str = "recorded") -> "Store":
        """The store that is there. Raises MissingError where there is none."""
        if not (Path(path) / "oci-layout").exists():
            raise errors.MissingError(errors.NO_STORE.format(path=str(path)))
        return cls(path, verify)

    # --- writing ---

    def put(self, model: Model, ref: str | None = None, source: bool = False) -> str:
        """Keep a model, and the versions before it; its address. ``ref`` then names it.

        With ``source``, the Python source of its functions is kept too, by cloudpickle: whoever
        gets it with ``trust_source`` has every JAX transformation of them.

        Raises SuccessionError where ``ref`` names a version that is not its predecessor, SpecError
        for what is no name or for source that can not be kept.
        """
        if ref is not None:
            self._refs.require_place(ref)
            self._require_place(ref, model, self._refs.get(ref))
        with self.writing():
            digest = self._keep(model, source)
            if ref is not None:
                self._name(ref, model, digest)
        return model.address

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
        return before

    def _kept(self, model: Model, source: bool) -> str | None:
        """The manifest of a model that was put before, or got, and is whole."""
        digest = model.remembered(("manifest", source))
        if digest is None or not self._version(model.address, digest).exists():
            return None
        whole = self.blobs.has(digest) and all(map(self.blobs.has, self.closure(digest)))
        return digest if whole else None

    def _write(self, model: Model, before: str | None, source: bool) -> str:
        old = None if before is None else self.config(before)
        known = {} if old is None else _places(old)
        entry = writing.write(model, self.blobs, known, source)
        entry["pred"] = None if old is None else {"address": old["address"], "manifest": before}
        layers = self._layers(entry)
        config = {
            "config": {"format": "safetensors"},
            "descriptor": {"name": entry["name"]},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
            "lamda": entry,
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
        write_file(self._version(address, manifest), b"")
        return manifest

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
        if head is None or self._is(model, head):
            return
        before, at = pred(model), self.config(head)["address"]
        if before is None or before.address != at:
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
            entry = self._descriptor(media.MANIFEST, digest) | {"artifactType": media.MODEL}
            address = self.manifest(digest)["annotations"][media.ADDRESS]
            manifests.append(entry | {"annotations": {media.REF_NAME: ref, media.ADDRESS: address}})
        index = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": manifests}
        write_file(self.path / "index.json", media.canonical(index))

    def writing(self, alone: bool = False) -> AbstractContextManager[None]:
        """While blobs are written that nothing names yet, nothing is collected."""
        return locked(self.path, "lock", alone)

    # --- reading ---

    def refs(self) -> dict[str, str]:
        """Every ref with the address that it names."""
        return {ref: self.config(digest)["address"] for ref, digest in self._refs.all().items()}

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
                return found[addresses[0]][0]
            if len(manifests) == 1 and not addresses:
                return manifests[0]
            named = self._refs.all().get(ref)
        else:
            named = self._refs.get(ref)
        if named is None:
            known = ", ".join(self._refs.all()) or "none yet"
            raise errors.MissingError(errors.NO_REF.format(ref=ref, path=self.path, refs=known))
        return named

    def versions(self) -> dict[str, list[str]]:
        """The manifests of every address (without ``sha256:``), in the order they were put."""
        return {
            each.name: [f"sha256:{f.name}" for f in sorted(each.iterdir(), key=_age)]
            for each in sorted((self.path / "versions").glob("*"))
        }

    def get(self, ref: str, trust_source: bool = False) -> Model:
        """The model of a ref or an address; its tensors are read-only memory maps.

        Nothing of a tensor is read before it is used. The model runs, differentiates and composes
        by its stored programs; no Python code is read, unless ``trust_source`` asks for it: that
        warns, and is noted in ``trusted.log``. Raises MissingError, StoreError.
        """
        return self._get(self.find(ref), trust_source)

    def _get(self, digest: str, trust_source: bool) -> Model:
        manifest, entry = self.manifest(digest), self.config(digest)
        if trust_source:
            source.note(self.path, entry["address"])
        for layer in manifest["layers"]:
            self.blobs.admit(layer["digest"], layer["size"])
        self.blobs.trust.flush()
        before = entry["pred"]

        def earlier() -> Model | None:
            return None if before is None else self._get(before["manifest"], trust_source)

        model = reading.read(entry, self.blobs, earlier, self._source if trust_source else _none)
        model.remember(("manifest", any("source" in f for f in entry["functions"])), digest)
        return model

    def _source(self, function: dict[str, Any]) -> Any:
        return source.restored(self.blobs.get(function["source"])) if "source" in function else None

    def log(self, ref: str) -> list[Version]:
        """The version of a ref and all before it, newest first."""
        versions: list[Version] = []
        at: str | None = self.find(ref)
        while at is not None:
            entry, before = self.config(at), self.config(at)["pred"]
            old = {} if before is None else self._sizes(before["manifest"])
            added = sum(n for d, n in self._sizes(at).items() if d not in old)
            address = None if before is None else before["address"]
            versions.append(Version(entry["address"], address, entry["name"], added))
            at = None if before is None else before["manifest"]
        return versions

    def record(self, ref: str) -> dict[str, Any]:
        """What is stored of a model, as data: term, types, tensors; nothing is loaded."""
        return self.config(self.find(ref))

    def closure(self, manifest: str) -> dict[str, int]:
        """Every blob that a version needs, with its size; the versions before it not counted."""
        return {manifest: self.blobs.path(manifest).stat().st_size, **self._sizes(manifest)}

    def _sizes(self, manifest: str) -> dict[str, int]:
        found = self.manifest(manifest)
        return {b["digest"]: b["size"] for b in [found["config"], *found["layers"]]}

    def config(self, manifest: str) -> dict[str, Any]:
        """What a version's config blob says in lamda's words; not to be changed."""
        return self._json(self.manifest(manifest)["config"]["digest"])["lamda"]

    def manifest(self, digest: str) -> dict[str, Any]:
        """A manifest, as data; not to be changed."""
        return self._json(digest)

    def _version(self, address: str, manifest: str) -> Path:
        return self.path / "versions" / address[7:] / manifest[7:]


def _places(config: dict[str, Any]) -> dict[str, Place]:
    """Where the tensors of a version are."""
    tensors = (t for s in config["slots"] for t in s["tensors"])
    return {t["digest"]: Place(t["blob"], t["offset"]) for t in tensors}


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


def _none(_: dict[str, Any]) -> None:
    return None
