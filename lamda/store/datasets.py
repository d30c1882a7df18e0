"""Data sets in a store: each version is its shards, and so is the chain of those before it.

A shard is written once. The manifest of a version names the blobs of all its shards, and what is
written for another one are the blobs of that, a record and a manifest.
"""

from functools import partial
from typing import Any

from lamda import errors
from lamda.data import DataSet
from lamda.store import layout, media, shards
from lamda.store.files import written
from lamda.store.keeping import Keeping
from lamda.store.lineage import ancestors


class DataSets(Keeping):
    """A store as it keeps data sets."""

    def put_data(self, data: DataSet, ref: str | None = None) -> str:
        """Keep a data set, and the versions before it; its address. ``ref`` then names it.

        What is here already is not written again. Raises SuccessionError where ``ref`` names what
        is not it with fewer shards, as after another has appended meanwhile; SpecError for what is
        no name or no data set, or where ``ref`` names a model; DiskError where the disk is full or
        can not be written: then the store is as it was.
        """
        if not isinstance(data, DataSet):
            raise errors.SpecError(errors.NOT_DATA.format(given=type(data).__name__))
        with written(self.path):
            if ref is not None:
                self._refs.require_place(ref)
            with self.writing():
                head = None if ref is None else self._begun(ref, data)
                digest = self._keep_data(data, head)
                if ref is not None:
                    self._refs.move(ref, digest, partial(self._require_after, ref, digest))
        return data.address

    def data(self, ref: str) -> DataSet:
        """The data set of a ref or an address; its arrays are read-only memory maps.

        No blob of it is opened, or in a remote fetched, before it is used. Raises MissingError,
        SpecError where it is a model, StoreError.
        """
        digest = self.find(ref)
        self.require_kind(ref, digest, media.DATA)
        sizes = self.sizes(digest)

        def admit(blob: str) -> None:
            self.blobs.admit(blob, sizes[blob])
            self.blobs.trust.flush()

        return shards.read(self.config(digest), self.blobs, admit)

    # --- succession ---

    def _begun(self, ref: str, data: DataSet) -> str | None:
        """The version that a ref names, which a data set goes on from. Raises SuccessionError."""
        if (head := self._refs.get(ref)) is None:
            return None
        try:
            self.require_kind(ref, head, media.DATA)
            kept = [*map(shards.identity, self.config(head)["shards"])]
        except errors.MissingError:  # perhaps it is this that is put again
            return None
        if kept != [shard.identity for shard in data.shards[: len(kept)]]:
            raise self._not_after(ref, head)
        return head

    def _require_after(self, ref: str, new: str, head: str | None) -> None:
        """Raises SuccessionError where a ref names neither a version nor one before it."""
        if head is not None and head not in ancestors(self, new):
            raise self._not_after(ref, head)

    def _not_after(self, ref: str, head: str) -> errors.SuccessionError:
        who = self.config(head)["address"]
        return errors.SuccessionError(errors.DATA_NOT_SUCCESSOR.format(ref=ref, head=who))

    # --- writing ---

    def _keep_data(self, data: DataSet, head: str | None) -> str:
        """The manifest of a data set, written after those before it that are not here."""
        before = self._start(data, head)
        entries = [] if before is None else [*self.config(before)["shards"]]
        layers = [] if before is None else self.manifest(before)["layers"][1:]
        for count in range(len(entries), len(data.shards)):
            entries.append(shards.write(data.shards[count], self.blobs))
            layers = self._with(layers, entries[-1], count)
            entry = shards.record(DataSet(data.shards[: count + 1]), entries)
            said = None if before is None else self.config(before)["address"]
            entry["pred"] = None if before is None else {"address": said, "manifest": before}
            before = self._commit(entry, layers)
        assert before is not None
        self._note(data.address, before)
        return before

    def _start(self, data: DataSet, head: str | None) -> str | None:
        """The version with most of the shards that is here, and whole."""
        wanted = [shard.identity for shard in data.shards]
        if head is not None and self._stands(head):
            return head
        for count in range(len(wanted), 0, -1):
            address = DataSet(data.shards[:count]).address
            for note in (self.path / layout.NOTES / address[7:]).glob("*"):
                manifest = f"sha256:{note.name}"
                if self._stands(manifest) and wanted[:count] == [
                    *map(shards.identity, self.config(manifest)["shards"])
                ]:
                    return manifest
        return None

    def _stands(self, manifest: str) -> bool:
        """Whether all blobs of a version are where the store has them."""
        return self._whole(manifest)

    def _with(
        self, layers: list[dict[str, Any]], entry: dict[str, Any], number: int
    ) -> list[dict[str, Any]]:
        """The layers with those of one more shard."""
        known, new = {layer["digest"] for layer in layers}, {}
        for tensor in shards.tensors(entry):
            if tensor["blob"] not in known:
                alone = tensor["blob"] == tensor["digest"]
                name = tensor["path"] if alone else f"pack-{tensor['blob'][7:19]}"
                new.setdefault(tensor["blob"], f"shards/{number}/{name}.safetensors")
        return [*layers, *(self._descriptor(media.DATASET, d, path) for d, path in new.items())]
