"""A store, played against a dictionary: each step does the same to both, and compares them."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import lamda as lm
from lamda import errors
from lamda.model import Model
from lamda.store import Store
from lamda.testing import strategies
from lamda.testing.law import broken
from lamda.testing.strategies.stores import REFS, empty

Choose = Callable[..., Any]
"""``choose(strategy)`` is what it gives: ``data.draw`` of Hypothesis, or a Draw."""


class Play:
    """A store and what it should hold: ``versions`` by address, ``refs`` by name.

    Steps raise LawError where the two differ.
    """

    def __init__(self, choose: Choose, models: Any = None) -> None:
        self.choose = choose
        self.models = strategies.models(size=3) if models is None else models
        self.store = self._first = empty()
        self.versions: dict[str, Model] = {}
        self.preds: dict[str, str | None] = {}
        self.refs: dict[str, str] = {}

    # --- steps ---

    def put(self) -> None:
        """A new model, without a ref."""
        self._put(self.choose(self.models), None)

    def put_ref(self) -> None:
        """A new model under a ref: taken where the ref is new, or names it already."""
        self._put(self.choose(self.models), self.choose(st.sampled_from(REFS)))

    def put_successor(self) -> None:
        """A successor of what a ref names."""
        if ref := self._some(self.refs):
            head = self.versions[self.refs[ref]]
            self._put(lm.succ(head, self.choose(strategies.weights(head))), ref)

    def put_grandchild(self) -> None:
        """Two versions after what a ref names: no successor of it."""
        if ref := self._some(self.refs):
            model = self.versions[self.refs[ref]]
            for _ in range(2):
                model = lm.succ(model, self.choose(strategies.weights(model)))
            self._put(model, ref)

    def get(self) -> None:
        """A version, by its address, the beginning of it, or a ref, and the version before it."""
        if address := self._some(self.versions):
            names = [address, address[:19], address[7:19]]
            names += [ref for ref, at in self.refs.items() if at == address]
            name = self.choose(st.sampled_from(names))
            _expect(self.store.resolve(name) == address, f"{name} names another version")
            back = self.store.get(name)
            before = lm.pred(back)
            _expect(back.address == address, f"{name} is {back.address}, and not {address}")
            given = before and before.address
            _expect(given == self.preds[address], f"{given} came before {name}")

    def reopen(self) -> None:
        """Another object for the same directory."""
        # The first is kept beside it: with it the directory would go.
        self.store = Store.open(self._first.path)

    def ask_for_what_is_not_there(self) -> None:
        """No ref, no address, and no bad name for a ref."""
        for name in ("nothing", "sha256:" + "0" * 64, "../m"):
            text = _raises(errors.MissingError, lambda n=name: self.store.get(n))
            _expect(bool(text), f"{name} is found")

    def compare(self) -> None:
        """What holds after each step: refs, versions and logs are those of the dictionary."""
        refs = self.store.refs()
        _expect(refs == self.refs, f"the refs are {refs}, and not {self.refs}")
        there = {f"sha256:{p.name}" for p in (self.store.path / "versions").glob("[0-9a-f]*")}
        _expect(there == {*self.versions}, f"the versions are {there}, and not {self.versions}")
        for ref, address in self.refs.items():
            found = [(version.who, version.pred) for version in self.store.log(ref)]
            expected = self._log(address)
            _expect(found == expected, f"the log of {ref} is {found}, and not {expected}")

    # --- how ---

    def _log(self, address: str | None) -> list[tuple[str, str | None]]:
        found = []
        while address is not None:
            found.append((address, self.preds[address]))
            address = self.preds[address]
        return found

    def _put(self, model: Model, ref: str | None) -> None:
        lineage = _lineage(model)
        head = None if ref is None else self.refs.get(ref)
        allowed = head in (None, *(m.address for m in lineage[:2]))
        if not allowed:
            text = _raises(errors.SuccessionError, lambda: self.store.put(model, ref=ref))
            _expect(bool(text), f"{ref} was at {head}, and was moved to {model.address}")
            _expect(str(ref) in text and "lm.succ" in text, f"no way out is in: {text}")
            return
        if self._frozen_otherwise(lineage):
            text = _raises(errors.StoreError, lambda: self.store.put(model, ref=ref))
            _expect(bool(text), f"{model.address} is kept with other parts frozen")
            return
        _expect(self.store.put(model, ref=ref) == model.address, "put gave another address")
        self._keep(lineage)
        if ref is not None:
            self.refs[ref] = model.address

    def _keep(self, lineage: list[Model]) -> None:
        start = next((i for i, m in enumerate(lineage) if m.address in self.versions), None)
        new = lineage[:start]
        before = None if start is None else lineage[start].address
        for model in reversed(new):
            if model.address not in self.versions:
                self.versions[model.address], self.preds[model.address] = model, before
            before = model.address

    def _frozen_otherwise(self, lineage: list[Model]) -> bool:
        kept = [(m, self.versions[m.address]) for m in lineage if m.address in self.versions]
        return any(_frozen(m) != _frozen(old) for m, old in kept[:1])

    def _some(self, of: dict[str, Any]) -> str | None:
        return self.choose(st.sampled_from(sorted(of))) if of else None


STEPS = (
    Play.put, Play.put_ref, Play.put_successor, Play.put_grandchild, Play.get,
    Play.reopen, Play.ask_for_what_is_not_there,
)  # fmt: skip


def _lineage(model: Model) -> list[Model]:
    """A version and all before it, newest first."""
    found: list[Model] = []
    at: Model | None = model
    while at is not None:
        found.append(at)
        at = lm.pred(at)
    return found


def _frozen(model: Model) -> set[tuple[str, bool]]:
    return {
        (tensor.digest, slot.frozen)
        for slot in model.slots
        for tensor in model.environment[slot].tensors
    }


def _expect(holds: bool, why: str) -> None:
    if not holds:
        raise broken(why)


def _raises(kind: type[Exception], run: Callable[[], Any]) -> str:
    """The text of the error, where one of this kind is raised; else empty."""
    try:
        run()
    except kind as error:
        return str(error)
    return ""
