"""The store: put a model, get it back by ref or by address, see where it came from."""

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lamda import errors
from lamda.model import Model
from lamda.store import record
from lamda.store.blobs import Blobs, make_directory, write_file
from lamda.versions import pred

# Media types of the OCI image specification and of the CNCF ModelPack specification.
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
TENSOR = "application/vnd.cncf.model.weight.v1.raw"
PROGRAM = "application/vnd.cncf.model.code.v1.raw"
PATH = "org.cncf.model.filepath"
ADDRESS = "dev.lamda.address"
PRED = "dev.lamda.pred"
REF_NAME = "org.opencontainers.image.ref.name"

_REF = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


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

    >>> import jax.numpy as jnp, lamda as lm, tempfile
    >>> store = Store(tempfile.mkdtemp() + "/store")
    >>> f = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]")
    >>> store.put(f, ref="double") == f.address == store.get("double").address
    True

    Laws: ``get(put(m)) == m`` in address, value and ties; what was put is never overwritten.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._blobs = Blobs(self.path)
        make_directory(self._blobs.directory)
        layout = self.path / "oci-layout"
        if not layout.exists():
            write_file(layout, b'{"imageLayoutVersion":"1.0.0"}')

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """The store that is there. Raises MissingError where there is none."""
        if not (Path(path) / "oci-layout").exists():
            raise errors.MissingError(errors.NO_STORE.format(path=str(path)))
        return cls(path)

    # --- writing ---

    def put(self, model: Model, ref: str | None = None) -> str:
        """Keep a model, and the versions before it; its address. ``ref`` then names it.

        Raises SuccessionError where ``ref`` names a version that is not its predecessor.
        """
        if ref is not None and not _REF.fullmatch(ref):
            raise errors.SpecError(errors.BAD_REF.format(ref=ref))
        address = model.address
        before = pred(model)
        if ref is not None:
            self._require_place(ref)
            self._require_successor(ref, address, before)
        self._keep(model, before)
        if ref is not None:
            with self._locked():
                self._require_successor(ref, address, before)
                write_file(self.path / "refs" / ref, address.encode())
                self._index()
        return address

    def _keep(self, model: Model, before: Model | None) -> None:
        """Write a version that is not here, after those before it."""
        version = self._version(model.address)
        kept = None if before is None or version.exists() else self.put(before)
        # One of those may be the same function, trained away and back: what is here stays.
        if version.exists():
            self._require_as_kept(model)
        else:
            self._write(model, kept)

    def _require_place(self, ref: str) -> None:
        """Raises SpecError where a ref is a folder of another, or inside of one."""
        for other in self.refs():
            if other.startswith(f"{ref}/") or ref.startswith(f"{other}/"):
                raise errors.SpecError(errors.REF_INSIDE.format(ref=ref, other=other))

    def _require_successor(self, ref: str, address: str, before: Model | None) -> None:
        head = self.refs().get(ref)
        from_ = None if before is None else before.address
        if head is not None and head not in (address, from_):
            raise errors.SuccessionError(
                errors.NOT_SUCCESSOR.format(ref=ref, head=head, new=address, pred=from_)
            )

    def _require_as_kept(self, model: Model) -> None:
        """Raises StoreError where the function is kept with other parts frozen: one record each."""
        kept = {
            (t["digest"], s["frozen"])
            for s in self.record(model.address)["slots"]
            for t in s["tensors"]
        }
        given = {
            (t.digest, slot.frozen) for slot in model.slots for t in model.environment[slot].tensors
        }
        if kept != given:
            text = errors.KEPT_OTHERWISE.format(address=model.address, path=self.path)
            raise errors.StoreError(text)

    def _write(self, model: Model, before: str | None) -> None:
        entry = record.write(model, self._blobs) | {"pred": before}
        layers = self._layers(entry)
        config = {
            "config": {"format": "safetensors"},
            "descriptor": {"name": entry["name"]},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
            "lamda": entry,
        }
        annotations = {ADDRESS: model.address} | ({} if before is None else {PRED: before})
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MODEL,
            "config": self._descriptor(CONFIG, self._blobs.put([canonical(config)])),
            "layers": layers,
            "annotations": annotations,
        }
        digest = self._blobs.put([canonical(manifest)])
        self._blobs.sync()
        write_file(self._version(model.address), digest.encode())

    def _layers(self, entry: dict[str, Any]) -> list[dict[str, Any]]:
        files = {
            t["digest"]: (TENSOR, f"{t['path'] or 'weights'}.safetensors")
            for s in entry["slots"]
            for t in s["tensors"]
        }
        files |= {f["program"]: (PROGRAM, f"programs/{f['name']}.jax") for f in entry["functions"]}
        return [self._descriptor(kind, digest, path) for digest, (kind, path) in files.items()]

    def _descriptor(self, kind: str, digest: str, path: str | None = None) -> dict[str, Any]:
        size = self._blobs.path(digest).stat().st_size
        entry: dict[str, Any] = {"mediaType": kind, "digest": digest, "size": size}
        return entry if path is None else entry | {"annotations": {PATH: path}}

    def _index(self) -> None:
        """Derive ``index.json`` from the refs, for tools that read OCI layouts."""
        manifests = []
        for ref, address in sorted(self.refs().items()):
            digest = self._version(address).read_text()
            entry = self._descriptor(MANIFEST, digest) | {"artifactType": MODEL}
            manifests.append(entry | {"annotations": {REF_NAME: ref, ADDRESS: address}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        write_file(self.path / "index.json", canonical(index))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.path / ".lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- reading ---

    def refs(self) -> dict[str, str]:
        """Every ref with the address it names."""
        root = self.path / "refs"
        files = sorted(f for f in root.rglob("*") if f.is_file() and not f.name.startswith("."))
        return {str(f.relative_to(root)): f.read_text() for f in files}

    def resolve(self, ref: str) -> str:
        """The address that a ref names; an address, or its beginning, names itself.

        Raises MissingError.
        """
        refs = self.refs()
        if ref in refs:
            return refs[ref]
        start = ref.removeprefix("sha256:")
        if re.fullmatch(r"[0-9a-f]{8,64}", start):
            found = [f.name for f in (self.path / "versions").glob(f"{start}*")]
            if len(found) == 1:
                return f"sha256:{found[0]}"
        known = ", ".join(refs) or "none yet"
        raise errors.MissingError(errors.NO_REF.format(ref=ref, path=self.path, refs=known))

    def get(self, ref: str) -> Model:
        """The model of a ref or an address; its tensors are read-only memory maps.

        It runs, differentiates and composes by its stored programs; no Python code is read.
        Raises MissingError, StoreError.
        """
        entry = self._entry(self.resolve(ref))
        before = entry["pred"]
        model = record.read(
            entry, self._blobs, lambda: None if before is None else self.get(before)
        )
        if model.address != entry["address"]:
            why = f"its address is {model.address}"
            raise errors.StoreError(errors.BAD_CONFIG.format(digest=entry["address"], why=why))
        return model

    def log(self, ref: str) -> list[Version]:
        """The version of a ref and all before it, newest first."""
        versions: list[Version] = []
        address: str | None = self.resolve(ref)
        while address is not None:
            entry = self._entry(address)
            before = entry["pred"]
            old = {} if before is None else self._sizes(before)
            added = sum(n for d, n in self._sizes(address).items() if d not in old)
            versions.append(Version(address, before, entry["name"], added))
            address = before
        return versions

    def record(self, ref: str) -> dict[str, Any]:
        """What is stored of a model, as data: term, types, tensors; nothing is loaded."""
        return self._entry(self.resolve(ref))

    def _sizes(self, address: str) -> dict[str, int]:
        manifest = self._manifest(address)
        return {b["digest"]: b["size"] for b in [manifest["config"], *manifest["layers"]]}

    def _entry(self, address: str) -> dict[str, Any]:
        return json.loads(self._blobs.get(self._manifest(address)["config"]["digest"]))["lamda"]

    def _manifest(self, address: str) -> dict[str, Any]:
        return json.loads(self._blobs.get(self._version(address).read_text()))

    def _version(self, address: str) -> Path:
        return self.path / "versions" / address.removeprefix("sha256:")


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
