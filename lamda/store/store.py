"""The store: put a model, get it back by ref or by address, see where it came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamda import errors
from lamda.diff import Difference
from lamda.model import Model
from lamda.receipt import Receipt
from lamda.store import index, lineage, media, reading, source
from lamda.store.collect import GRACE, Collected, collect
from lamda.store.compared import compare
from lamda.store.files import written
from lamda.store.lineage import Version
from lamda.store.pause import uncollected
from lamda.store.remote import transfer
from lamda.store.signatures import require, sign_version
from lamda.store.trained import Trained
from lamda.store.usage import Usage, usage
from lamda.store.verify import Progress, Report, check


class Store(Trained):
    """``Store(path)`` keeps models and data sets in a directory: an OCI image layout.

    It is made where there is none.

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

    @classmethod
    def open(cls, path: str | Path, verify: str = "recorded") -> "Store":
        """The store that is there. Raises MissingError where there is none."""
        if "://" not in str(path) and not (Path(path) / "oci-layout").exists():
            raise errors.MissingError(errors.NO_STORE.format(path=str(path)))
        return cls(path, verify)

    # --- putting and getting ---

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
            with self.writing():
                head = None if ref is None else self._place(ref, model)
                digest = self._keep(model, source, head)
                if ref is not None:
                    self._name(ref, model, digest)
        return model.address

    def get(self, ref: str, trust_source: bool = False) -> Model:
        """The model of a ref or an address; its tensors are read-only memory maps.

        Nothing of a tensor is read before it is used. The model runs, differentiates and composes
        by its stored programs; no Python code is read, unless ``trust_source`` asks for it: that
        warns, and is noted in ``trusted.log``. Raises MissingError, StoreError.
        """
        digest = self.find(ref)
        self.require_kind(ref, digest, media.MODEL_KIND)
        return self._get(digest, trust_source)

    def trained(self, receipt: Receipt) -> Model | None:
        """The result of a training run with these inputs, where the store has it.

        Raises StoreError where that is damaged.
        """
        digest = self._trained(receipt)
        return None if digest is None else self._get(digest, False)

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

    def remove(self, ref: str) -> None:
        """Remove a name, and nothing but it: :meth:`gc` takes what no name needs.

        Raises MissingError.
        """

        def require(head: str | None) -> None:
            if head is None:
                raise self._no_ref(ref)

        with written(self.path), self.writing():
            self._refs.move(ref, None, require)

    # --- versions ---

    def log(self, ref: str) -> list[Version]:
        """The version of a ref and all before it, newest first. Raises MissingError, StoreError."""
        return lineage.log(self, self.find(ref))

    def diff(self, a: str, b: str) -> Difference:
        """What changed from one version to another; each is a ref, an address or a manifest.

        It is told from the records; of the tensors that changed alone the numbers are read, a
        piece at a time, for their norms. Raises MissingError, StoreError.
        """
        return compare(self, a, b)

    def sign(self, ref: str, key: str | Path) -> str:
        """Sign the version of a ref with a private key, a PEM file; the keyid of the key.

        What is signed is an in-toto statement about its manifest (docs/store.md). A version may
        have several signatures. Raises MissingError, SpecError, DiskError.
        """
        with written(self.path):
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
        if not index.stale(self, self._refs.readable()):
            return False
        self._refs.refresh()
        return not index.stale(self, self._refs.readable())

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


def _none(_: dict[str, Any]) -> None:
    return None
