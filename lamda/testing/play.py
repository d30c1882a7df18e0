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
    """A store and what it should hold: the first model of every address, and that of every ref.

    Steps raise LawError where the two differ.
    """

    def __init__(self, choose: Choose, models: Any = None) -> None:
        self.choose = choose
        self.models = strategies.models(size=3) if models is None else models
        self.store = self._first = empty()
        self.versions: dict[str, Model] = {}
        self.refs: dict[str, Model] = {}

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
            head = self.refs[ref]
            self._put(lm.succ(head, self.choose(strategies.weights(head))), ref)

    def put_grandchild(self) -> None:
        """Two versions after what a ref names: no successor of it."""
        if ref := self._some(self.refs):
            model = self.refs[ref]
            for _ in range(2):
                model = lm.succ(model, self.choose(strategies.weights(model)))
            self._put(model, ref)

    def get(self) -> None:
        """What a ref names, or the first of an address, and the version before it."""
        if ref := self._some(self.refs):
            self._get(ref, self.refs[ref])
        if address := self._some(self.versions):
            name = self.choose(st.sampled_from((address, address[:19], address[7:19])))
            self._get(name, self.versions[address])

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
        refs, expected = self.store.refs(), {r: m.address for r, m in self.refs.items()}
        _expect(refs == expected, f"the refs are {refs}, and not {expected}")
        there = {f"sha256:{address}" for address in self.store.versions()}
        _expect(there == {*self.versions}, f"the versions are {there}, and not {self.versions}")
        for ref, model in self.refs.items():
            found = [(version.who, version.pred) for version in self.store.log(ref)]
            expected = [(m.address, _before(m)) for m in _lineage(model)]
            _expect(found == expected, f"the log of {ref} is {found}, and not {expected}")

    # --- how ---

    def _get(self, name: str, model: Model) -> None:
        _expect(self.store.resolve(name) == model.address, f"{name} names another version")
        back = self.store.get(name)
        _expect(back.address == model.address, f"{name} is {back.address}")
        _expect(_frozen(back) == _frozen(model), f"{name} has other parts frozen")
        _expect(_before(back) == _before(model), f"{_before(back)} came before {name}")

    def _put(self, model: Model, ref: str | None) -> None:
        head = None if ref is None else self.refs.get(ref)
        same = head is not None and _same(head, model)
        if head is not None and not same and _before(model) != head.address:
            text = _raises(errors.SuccessionError, lambda: self.store.put(model, ref=ref))
            _expect(bool(text), f"{ref} was at {head.address}, and was moved to {model.address}")
            _expect(str(ref) in text and "lm.succ" in text, f"no way out is in: {text}")
            return
        _expect(self.store.put(model, ref=ref) == model.address, "put gave another address")
        for each in reversed(_lineage(model)):
            self.versions.setdefault(each.address, each)
        if ref is not None and not same:
            self.refs[ref] = model

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


def _before(model: Model) -> str | None:
    before = lm.pred(model)
    return None if before is None else before.address


def _frozen(model: Model) -> list[bool]:
    return [slot.frozen for slot in model.slots]


def _same(one: Model, other: Model) -> bool:
    return one.address == other.address and _frozen(one) == _frozen(other)


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
