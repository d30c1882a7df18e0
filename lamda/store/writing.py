"""Writing: a model as a record, which is JSON, and blobs.

A record holds the term as it was written (parts, ties, names, what is frozen), the type and the
program of every lifted function, and the dtype, shape and place of every tensor, so that a model
is opened without touching its tensors. Programs are portable StableHLO with its derivative.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from lamda import types
from lamda.check import infer
from lamda.function import Function
from lamda.model import Model
from lamda.receipt import PROGRAMS
from lamda.store.blobs import Blobs
from lamda.store.checked import VERSION
from lamda.store.packs import Entry, Place, keep
from lamda.store.pause import uncollected
from lamda.store.source import pickled
from lamda.tensor import Tensor
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term
from lamda.types import Type


@uncollected()
def write(
    model: Model, blobs: Blobs, known: Mapping[str, Place], source: bool = False
) -> dict[str, Any]:
    """The record of a model, whose blobs are put beside it.

    ``known`` says where the tensors of the version before are; with ``source``, the Python source
    of functions is kept too.

    The term is a list of nodes, each after those that it is made of; the last is the whole. A part
    that is shared is there once for each type that it is used at.
    """
    writer = _Writer(model, blobs, known, source)
    writer.node(model.term, model.require_input())
    return {
        "version": VERSION,
        "address": model.address,
        "name": model.name,
        "input": types.to_json(model.input or ()),
        "output": types.to_json(model.output or ()),
        "term": writer.nodes,
        "functions": writer.functions,
        "receipt": None if model.receipt is None else model.receipt.to_json(),
        "slots": writer.slots,
        **_training(model, blobs),
    }


def _training(model: Model, blobs: Blobs) -> dict[str, Any]:
    """The programs that a model was trained by, where they are known."""
    programs: Mapping[str, Callable[[], bytes]] = model.remembered(PROGRAMS) or {}
    if model.receipt is None or not programs:
        return {}
    return {PROGRAMS: {name: blobs.put([load()]) for name, load in programs.items()}}


class _Writer:
    def __init__(
        self, model: Model, blobs: Blobs, known: Mapping[str, Place], source: bool
    ) -> None:
        self.model = model
        self.blobs = blobs
        self.source = source
        self._at = keep(*_entries(model), known, blobs)
        self.nodes: list[list[Any]] = []
        self.functions: list[dict[str, Any]] = []
        self._places = {slot: i for i, slot in enumerate(model.slots)}
        tokens = dict.fromkeys(slot.token for slot in model.slots)
        self._tokens = {token: i for i, token in enumerate(tokens)}
        self.slots = [self._slot(slot) for slot in model.slots]
        self._written: dict[Hashable, tuple[int, Type]] = {}
        self._equal: dict[Hashable, int] = {}
        self._known: dict[Hashable, int] = {}

    def node(self, term: Term, input: Type) -> tuple[int, Type]:
        """The number of a term's node, written if it is new, and what it gives for ``input``."""
        at = id(term), types.plain(input)
        if at not in self._written:
            entry, output = self._entry(term, input)
            # Terms that are equal are one node, whichever objects they are.
            place = self._equal.setdefault((repr(entry), types.plain(input)), len(self.nodes))
            if place == len(self.nodes):
                self.nodes.append(entry)
            self._written[at] = place, output
        return self._written[at]

    def _entry(self, term: Term, input: Type) -> tuple[list[Any], Type]:
        output = infer(term, input, self.model.weights_type).output
        match term:
            case Lift(function, slot):
                taken = input if function.input is None else function.input
                weights = self.model.weights_type(term, taken)
                place = None if slot is None else self._places[slot]
                return ["lift", self._function(function, weights, taken), place], output
            case Compose(parts):
                numbers, type = [], input
                for part in parts:
                    number, type = self.node(part, type)
                    numbers.append(number)
                return ["compose", *numbers], output
            case Branch(parts, names):
                numbers = [self.node(part, input)[0] for part in parts]
                return ["branch", None if names is None else list(names), *numbers], output
            case Pick(key):
                return ["pick", key], output
            case Named(name, inner):
                return ["named", name, self.node(inner, input)[0]], output
            case Control(kind, bodies):
                taken = kind.inputs(input, len(bodies))
                numbers = [self.node(b, t)[0] for b, t in zip(bodies, taken, strict=True)]
                return ["control", list(kind.key), *numbers], output

    def _function(self, function: Function, weights: Type, input: Type) -> int:
        key = (function, function.name, types.plain(weights), types.plain(input))
        if key not in self._known:
            self._known[key] = len(self.functions)
            entry = {
                "name": function.name,
                "input": types.to_json(input),
                "weights": types.to_json(weights),
                "digest": function.digest(weights, input).value,
                "program": self.blobs.put([function.serialise(weights, input)]),
            }
            if function.sample is not None:
                entry["random"] = True
            if self.source:
                entry["source"] = self.blobs.put([pickled(function)])
            self.functions.append(entry)
        return self._known[key]

    def _slot(self, slot: Slot) -> dict[str, Any]:
        path, weights = self.model.slots[slot], self.model.environment[slot]
        return {
            "frozen": slot.frozen,
            "token": self._tokens[slot.token],
            "tensors": [self._tensor("/".join((*path, *at)), t) for at, t in weights.items()],
        }

    def _tensor(self, path: str, tensor: Tensor) -> dict[str, Any]:
        return self._at[tensor.digest].entry(path, tensor)


def _entries(model: Model) -> tuple[list[Entry], list[Entry]]:
    """The tensors that are trained, and the rest."""
    trained: list[Entry] = []
    rest: list[Entry] = []
    for path, tensor, is_trained in model.tensors():
        (trained if is_trained else rest).append(("/".join(path), tensor))
    return trained, rest
