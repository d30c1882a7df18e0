"""Succession: a ref moves from the version before alone, and so no version is lost by a move."""

import contextlib
from collections.abc import Iterator
from itertools import islice

from lamda import errors
from lamda.model import Model
from lamda.store import media
from lamda.store.catalogue import Catalogue
from lamda.store.lineage import ancestors
from lamda.versions import pred


class Succession(Catalogue):
    """Which version a model is, and which it comes after."""

    def _place(self, ref: str, model: Model) -> str | None:
        """The version that a ref names, which a model comes after. Raises SuccessionError."""
        head = self._refs.get(ref)
        try:
            if head is not None:
                self.require_kind(ref, head, media.MODEL_KIND)
            self._require_place(ref, model, head)
        except errors.MissingError:  # perhaps it is this model that is put again
            return None
        return head

    def _name(self, ref: str, model: Model, new: str) -> None:
        """Move a ref to a version; where it names the same function already, it stays."""

        def require(head: str | None) -> None:
            if head == new or (head and self._is(model, head) and not self._adds(new, head)):
                raise _Stays
            self._require_place(ref, model, head, new)

        with contextlib.suppress(_Stays):
            self._refs.move(ref, new, require)

    def _require_place(
        self, ref: str, model: Model, head: str | None, new: str | None = None
    ) -> None:
        """Raises SuccessionError where a ref names what is not the version before a model.

        ``new`` is the manifest of the model, once there is one.
        """
        if head is None or self._is(model, head):
            return
        before = pred(model)
        if new is None:
            fits = before is not None and self._is_version(before, head)
        else:
            fits = self._pred(new) == head
        if not fits:
            at, came = self.config(head)["address"], before and before.address
            came = f"{came}, but another version of it" if came == at else came
            named = {"ref": ref, "head": at, "new": model.address, "pred": came}
            raise errors.SuccessionError(errors.NOT_SUCCESSOR.format(**named))

    def _is(self, model: Model, manifest: str) -> bool:
        """Whether a version is this function, with the same parts frozen."""
        if (kept := self.config(manifest))["address"] != model.address:
            return False
        given = [(s.frozen, list(model.environment[s].digests)) for s in model.slots]
        return given == [(s["frozen"], [t["digest"] for t in s["tensors"]]) for s in kept["slots"]]

    def _is_version(self, model: Model, manifest: str) -> bool:
        """Whether a model is this version: it was put or got as that, or is it, made again.

        An address does not tell that: what comes before, or what is frozen, may be another.
        """
        if manifest in (model.remembered(("manifest", source)) for source in (False, True)):
            return True
        if not self._is(model, manifest):
            return False
        before = pred(model)
        return before is None or before.address in self._preds(manifest)

    def _preds(self, manifest: str) -> Iterator[str]:
        """The address of the version before; where it is the same, as of source, of that before."""
        address = self.config(manifest)["address"]
        for at in islice(ancestors(self, manifest), 1, None):
            yield (found := self.config(at)["address"])
            if found != address:
                return

    def _adds(self, new: str, head: str) -> bool:
        """Whether a version is the one before it with its source."""
        return self._pred(new) == head and self._sourced(new) and not self._sourced(head)

    def _sourced(self, manifest: str) -> bool:
        return any("source" in f for f in self.config(manifest)["functions"])

    def _pred(self, manifest: str) -> str | None:
        said = self.config(manifest)["pred"]
        return None if said is None else said["manifest"]


class _Stays(Exception):
    """A ref names already what it should."""
