"""Records: a model as JSON and blobs, and back.

A record holds the term as it was written (parts, ties, names, what is frozen), the type and the
program of every lifted function, and the dtype, shape and blob of every tensor. Programs are
portable StableHLO with its derivative: no Python code is stored.
"""

import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from lamda import errors, types
from lamda.check import infer
from lamda.function import Function
from lamda.kinds import KINDS
from lamda.model import Model
from lamda.receipt import Receipt
from lamda.store.blobs import Blobs
from lamda.tensor import Tensor, Weights, header
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term, Token
from lamda.types import Type

VERSION = 1

WHERE = "a store"
"""Where what is read was made, for errors: no path of a machine is kept."""


def write(model: Model, blobs: Blobs) -> dict[str, Any]:
    """The record of a model, whose blobs are put beside it.

    The term is a list of nodes, each after those that it is made of; the last is the whole. A part
    that is shared is there once for each type that it is used at.
    """
    writer = _Writer(model, blobs)
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
    }


class _Writer:
    def __init__(self, model: Model, blobs: Blobs) -> None:
        self.model = model
        self.blobs = blobs
        self.nodes: list[list[Any]] = []
        self.functions: list[dict[str, Any]] = []
        self.slots = [self._slot(model, slot) for slot in model.slots]
        self._places = {slot: i for i, slot in enumerate(model.slots)}
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
            self.functions.append(
                {
                    "name": function.name,
                    "input": types.to_json(input),
                    "weights": types.to_json(weights),
                    "digest": function.digest(weights, input).value,
                    "program": self.blobs.put([function.serialise(weights, input)]),
                }
            )
        return self._known[key]

    def _slot(self, model: Model, slot: Slot) -> dict[str, Any]:
        weights = model.environment[slot]
        path = "/".join(model.slots[slot])
        return {
            "frozen": slot.frozen,
            "token": list(dict.fromkeys(s.token for s in model.slots)).index(slot.token),
            "tensors": [self._tensor(path, at, tensor) for at, tensor in weights.items()],
        }

    def _tensor(self, path: str, at: tuple[str, ...], tensor: Tensor) -> dict[str, Any]:
        self.blobs.put(tensor.chunks(), tensor.digest)
        return {
            "path": "/".join(filter(None, (path, *at))),
            "digest": tensor.digest,
            "dtype": tensor.type.dtype,
            "shape": list(tensor.type.shape),
        }


def read(record: dict[str, Any], blobs: Blobs, pred: Callable[[], Model | None]) -> Model:
    """The model of a record; tensors are memory maps. Raises StoreError, MissingError."""
    if record.get("version") != VERSION:
        why = f"its version is {record.get('version')!r}, not {VERSION}; use a newer lamda"
        raise errors.StoreError(errors.BAD_CONFIG.format(digest=record.get("address"), why=why))
    try:
        return _read(record, blobs, pred)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, errors.LamdaError):
            raise
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_CONFIG.format(digest=record.get("address"), why=why)
        raise errors.StoreError(text) from error


def _read(record: dict[str, Any], blobs: Blobs, pred: Callable[[], Model | None]) -> Model:
    functions = [_load_function(f, blobs) for f in record["functions"]]
    tokens = [Token() for _ in record["slots"]]
    slots = [Slot(tokens[s["token"]], bool(s["frozen"])) for s in record["slots"]]
    structures: dict[int, Any] = {}

    terms: list[Term] = []

    def made(number: int) -> Term:
        if not 0 <= number < len(terms):
            raise ValueError(f"node {len(terms)} is made of node {number}, which is not before it")
        return terms[number]

    def term(node: list[Any]) -> Term:
        match node:
            case ["lift", function, None]:
                return Lift(functions[function])
            case ["lift", function, slot]:
                structures[slot] = types.from_json(record["functions"][function]["weights"])
                return Lift(functions[function], slots[slot])
            case ["compose", *parts]:
                return Compose(tuple(map(made, parts)))
            case ["branch", names, *parts]:
                return Branch(tuple(map(made, parts)), names and tuple(names))
            case ["pick", key]:
                return Pick(key)
            case ["named", name, inner]:
                return Named(str(name), made(inner))
            case ["control", [kind, *parameters], *bodies]:
                return Control(KINDS[kind](*map(_tuples, parameters)), tuple(map(made, bodies)))
        raise ValueError(f"{node!r} is no term")

    for node in record["term"]:
        terms.append(term(node))
    built = terms[-1]
    bound = {
        slots[place]: Weights(
            jax.tree.structure(tree, is_leaf=types.is_array),
            tuple(_load_tensor(t, blobs) for t in record["slots"][place]["tensors"]),
        )
        for place, tree in structures.items()
    }
    input, output = types.from_json(record["input"]), types.from_json(record["output"])
    receipt = None if record["receipt"] is None else Receipt.from_json(record["receipt"])
    return Model(built, bound, input, output, where=WHERE, pred=pred, receipt=receipt)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _load_function(entry: dict[str, Any], blobs: Blobs) -> Function:
    exported = jax.export.deserialize(bytearray(blobs.get(entry["program"])))
    jitted = jax.jit(exported.call)

    def call(weights: Any, x: Any) -> Any:
        return jitted(jax.tree.leaves(weights), x)

    return Function(
        call,
        key=("program", entry["digest"]),
        name=str(entry["name"]),
        where=WHERE,
        input=types.from_json(entry["input"]),
    )


def _load_tensor(entry: dict[str, Any], blobs: Blobs) -> Tensor:
    shape = tuple(int(n) for n in entry["shape"])
    type = types.ArrayType(str(entry["dtype"]), shape)
    data = blobs.map(entry["digest"])
    blobs.check(entry["digest"], data)
    count = math.prod(shape)
    dtype = jax.numpy.dtype(type.dtype)
    start = len(header(type, count * dtype.itemsize))
    array = np.frombuffer(data, dtype=dtype, count=count, offset=start).reshape(shape)
    # A read-only map at a multiple of 64 bytes is aliased, not copied.
    return Tensor(jax.device_put(array), entry["digest"])
