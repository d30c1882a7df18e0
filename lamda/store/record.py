"""Records: a model as JSON and blobs, and back.

A record holds the term as it was written (parts, ties, names, what is frozen), the type and the
program of every lifted function, and the dtype, shape and blob of every tensor. Programs are
portable StableHLO with its derivative: no Python code is stored.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lamda import check, errors, program, types
from lamda.function import Function
from lamda.kinds import KINDS
from lamda.model import Model
from lamda.receipt import Receipt
from lamda.store.blobs import Blobs
from lamda.tensor import Tensor, Weights, header
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term, Token

VERSION = 1

WHERE = "a store"
"""Where what is read was made, for errors: no path of a machine is kept."""


def write(model: Model, blobs: Blobs) -> dict[str, Any]:
    """The record of a model, whose blobs are put beside it."""
    writer = _Writer(model, blobs)
    term = writer.term(model.term)
    return {
        "version": VERSION,
        "address": model.address,
        "name": model.name,
        "input": types.to_json(model.input or ()),
        "output": types.to_json(model.output or ()),
        "term": term,
        "functions": writer.functions,
        "receipt": None if model.receipt is None else model.receipt.to_json(),
        "slots": writer.slots,
    }


class _Writer:
    def __init__(self, model: Model, blobs: Blobs) -> None:
        self.blobs = blobs
        self.functions: list[dict[str, Any]] = []
        self.slots = [self._slot(model, slot) for slot in model.slots]
        self._places = {slot: i for i, slot in enumerate(model.slots)}
        self._tokens = {slot.token: i for i, slot in enumerate(model.slots)}
        self._types: list[tuple[types.Type, types.Type]] = []
        self._known: dict[Any, int] = {}
        assert model.input is not None

        def weights(lift: Lift, input: types.Type) -> types.Type:
            type = model.weights_type(lift, input)
            self._types.append((type, input))
            return type

        check.infer(model.term, model.input, weights)
        self._uses = iter(self._types)

    def term(self, term: Term) -> list[Any]:
        """The term as nested lists; functions and slots by number."""
        match term:
            case Lift(function, slot):
                weights, input = next(self._uses)
                place = None if slot is None else self._places[slot]
                return ["lift", self._function(function, weights, input), place]
            case Compose(parts):
                return ["compose", *map(self.term, parts)]
            case Branch(parts, names):
                return ["branch", None if names is None else list(names), *map(self.term, parts)]
            case Pick(key):
                return ["pick", key]
            case Named(name, inner):
                return ["named", name, self.term(inner)]
            case Control(kind, bodies):
                return ["control", list(kind.key), *map(self.term, bodies)]

    def _function(self, function: Function, weights: types.Type, input: types.Type) -> int:
        key = (function, function.name, types.plain(weights), types.plain(input))
        if key not in self._known:
            self._known[key] = len(self.functions)
            exported = function.export(weights, input)
            self.functions.append(
                {
                    "name": function.name,
                    "input": types.to_json(input),
                    "weights": types.to_json(weights),
                    "digest": function.digest(weights, input).value,
                    "program": self.blobs.put([program.serialise(exported)]),
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

    def term(node: list[Any]) -> Term:
        match node:
            case ["lift", function, None]:
                return Lift(functions[function])
            case ["lift", function, slot]:
                structures[slot] = types.from_json(record["functions"][function]["weights"])
                return Lift(functions[function], slots[slot])
            case ["compose", *parts]:
                return Compose(tuple(map(term, parts)))
            case ["branch", names, *parts]:
                return Branch(tuple(map(term, parts)), names and tuple(names))
            case ["pick", key]:
                return Pick(key)
            case ["named", name, inner]:
                return Named(str(name), term(inner))
            case ["control", [kind, *parameters], *bodies]:
                return Control(KINDS[kind](*map(_tuples, parameters)), tuple(map(term, bodies)))
        raise ValueError(f"{node!r} is no term")

    built = term(record["term"])
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
