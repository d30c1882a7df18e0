"""Keeping: a model and the versions before it become blobs, a manifest each, and a note.

What is named is written before what names it.
"""

import os
import time
from contextlib import AbstractContextManager
from typing import Any

from lamda.model import Model
from lamda.receipt import PROGRAMS
from lamda.store import media, packs, source, writing
from lamda.store.files import locked, write_file
from lamda.store.packs import Place
from lamda.store.succession import Succession
from lamda.versions import pred


class Keeping(Succession):
    """A store as it is written."""

    def writing(self, alone: bool = False) -> AbstractContextManager[None]:
        """While blobs are written that nothing names yet, nothing is collected."""
        return locked(self.path, "lock", alone)

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

    # --- a model and those before it ---

    def _keep(self, model: Model, source: bool, head: str | None) -> str:
        """The manifest of a model; it and those before it are written where they are not here.

        ``head`` is the version of the ref that is to move.
        """
        digest = self._of_head(model, source, head) or self._kept(model, source)
        if digest is None:
            digest = self._write_all(model, source, head)
        model.remember(("manifest", self._sourced(digest)), digest)
        self._note(model.address, digest)
        return digest

    def _of_head(self, model: Model, source: bool, head: str | None) -> str | None:
        """The version of a ref, where it is the model; what lacks its source gets a successor."""
        if head is None or not self._is_version(model, head) or not self._whole(head):
            return None
        return head if self._sourced(head) or not source else self._write(model, head, source)

    def _write_all(self, model: Model, source: bool, head: str | None) -> str:
        """The manifest of a model, written after those before it that are not here."""
        new, at = [model], pred(model)
        digest: str | None = None
        while at is not None and (digest := self._earlier(at, head)) is None:
            new.append(at)
            at = pred(at)
        for each in reversed(new):
            digest = self._write(each, digest, source)
            each.remember(("manifest", source), digest)
        assert digest is not None
        return digest

    def _kept(self, model: Model, source: bool) -> str | None:
        """The manifest of a model that was put before, or got, and is whole."""
        digest = model.remembered(("manifest", source))
        if digest is None or not self._version(model.address, digest).exists():
            return None
        return digest if self._whole(digest) else None

    def _earlier(self, model: Model, head: str | None) -> str | None:
        """The version of a model that comes before another; with its source or without."""
        if head is not None and self._is_version(model, head) and self._whole(head):
            return head
        return self._kept(model, False) or self._kept(model, True)

    def _whole(self, manifest: str) -> bool:
        """Whether all blobs of a version are here. Its signatures are not its own."""
        return self.blobs.has(manifest) and all(map(self.blobs.has, self.sizes(manifest)))

    def _write(self, model: Model, before: str | None, source: bool) -> str:
        old = None if before is None else self.config(before)
        known = {} if old is None else _places(old)
        packs.ahead([tensor for _, tensor, _ in model.tensors()], self.blobs)
        entry = writing.write(model, self.blobs, known, source)
        entry["pred"] = None if old is None else {"address": old["address"], "manifest": before}
        return self._commit(entry, self._layers(entry))

    def _commit(self, entry: dict[str, Any], layers: list[dict[str, Any]]) -> str:
        """The manifest of a version whose layers are put: its record is put, and then it."""
        record = self.blobs.put([media.canonical(entry)])
        before = None if entry["pred"] is None else entry["pred"]["manifest"]
        layers = [self._descriptor(media.RECORD, record, "lamda.json"), *layers]
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
            "annotations": {media.ADDRESS: entry["address"]}
            | ({} if before is None else {media.PRED: before}),
        }
        return self.admit(self.blobs.put([media.canonical(manifest)]), entry["address"])

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
        for name, digest in entry.get(PROGRAMS, {}).items():
            files[digest] = media.CODE, f"training/{name}.jax"
        return [self._descriptor(kind, digest, path) for digest, (kind, path) in files.items()]

    def _descriptor(self, kind: str, digest: str, path: str | None = None) -> dict[str, Any]:
        size = self.blobs.stat(digest).st_size
        return media.descriptor(kind, digest, size, **({} if path is None else {media.PATH: path}))


def _places(config: dict[str, Any]) -> dict[str, Place]:
    """Where the tensors of a version are."""
    tensors = (t for s in config["slots"] for t in s["tensors"])
    return {t["digest"]: Place(t["blob"], t["offset"]) for t in tensors}
