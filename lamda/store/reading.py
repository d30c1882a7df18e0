"""Reading: a record and its blobs as a model, which loads its tensors where it uses them."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import jax
import numpy as np

from lamda import errors, types
from lamda.function import Function
from lamda.kinds import KINDS
from lamda.model import Model
from lamda.receipt import PROGRAMS, Receipt
from lamda.store.blobs import Blobs
from lamda.store.source import Python
from lamda.tensor import Tensor, Weights
from lamda.term import Branch, Compose, Control, Lift, Named, Pick, Slot, Term, Token

WHERE = "a store"
"""Where what is read was made, for errors: no path of a machine is kept."""

Sources: TypeAlias = Callable[[dict[str, Any]], Python | None]
"""The Python of a function's entry, where it is trusted."""


def read(
    record: dict[str, Any],
    blobs: Blobs,
    pred: Callable[[], Model | None],
    source: Sources = lambda _: None,
) -> Model:
    """The model of a record; tensors are memory maps. Raises StoreError, MissingError."""
    try:
        return _read(record, blobs, pred, source)
    except (errors.LamdaError, OSError):
        raise
    except Exception as error:  # whatever a record makes of what is made of it
        why = f"{type(error).__name__}: {error}"
        text = errors.BAD_CONFIG.format(digest=record["address"], why=why)
        raise errors.StoreError(text) from error


def _read(
    record: dict[str, Any], blobs: Blobs, pred: Callable[[], Model | None], source: Sources
) -> Model:
    functions = [_load_function(f, blobs, source) for f in record["functions"]]
    load = _Loader(blobs)
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
        slots[place]: _weights(tree, [load.tensor(t) for t in record["slots"][place]["tensors"]])
        for place, tree in structures.items()
    }
    input, output = types.from_json(record["input"]), types.from_json(record["output"])
    receipt = None if record["receipt"] is None else Receipt.from_json(record["receipt"])
    model = Model(built, bound, input, output, where=WHERE, pred=pred, receipt=receipt)
    model.remember("address", record["address"])
    programs = record.get(PROGRAMS, {})
    model.remember(PROGRAMS, {name: partial(blobs.get, at) for name, at in programs.items()})
    return model


def _weights(tree: types.Type, tensors: list[Tensor]) -> Weights:
    """The weights of a part, whose function says what tree of tensors it takes."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=types.is_array)
    if leaves != (found := [t.type for t in tensors]):
        raise ValueError(f"the tensors of a part are {found}, and its function takes {leaves}")
    return Weights(structure, tuple(tensors))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _load_function(entry: dict[str, Any], blobs: Blobs, source: Sources) -> Function:
    python = source(entry)
    name, random = str(entry["name"]), bool(entry.get("random"))
    # A program is not all that Python is: it has no forward derivative and no random reading.
    more = (entry["source"],) if python is not None else (None,) if random else ()
    function = Function(
        _program(entry["program"], blobs) if python is None else python.call,
        key=("program", entry["digest"], *more),
        sample=python.sample if python is not None else _undrawn(name) if random else None,
        name=name,
        where=WHERE,
        input=types.from_json(entry["input"]),
        stored=partial(blobs.get, entry["program"]),
    )
    if python is not None:
        _require_program(function, entry)
    return function


def _program(digest: str, blobs: Blobs) -> Callable[[Any, Any], Any]:
    """The function that a program is; it is read where it is called first."""

    @cache
    def jitted() -> Any:
        return jax.jit(jax.export.deserialize(bytearray(blobs.get(digest))).call)

    def call(weights: Any, x: Any) -> Any:
        return jitted()(jax.tree.leaves(weights), x)

    return call


def _undrawn(name: str) -> Callable[..., Any]:
    """The reading with a key of a function whose source is not read."""

    def sample(*_: Any) -> Any:
        raise errors.SpecError(errors.RANDOM_PROGRAM.format(name=name))

    return sample


def _require_program(function: Function, entry: dict[str, Any]) -> None:
    """Raises StoreError where the Python of a function is not what its program is."""
    weights, input = types.from_json(entry["weights"]), types.from_json(entry["input"])
    if (found := function.digest(weights, input).value) != entry["digest"]:
        raise errors.StoreError(errors.OTHER_SOURCE.format(name=function.name, digest=found))


class _Loader:
    """Makes tensors that load themselves; each blob is mapped once, when it is needed."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.map = cache(blobs.map)

    def tensor(self, entry: dict[str, Any]) -> Tensor:
        type = types.ArrayType(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
        load = partial(self._array, type, entry["blob"], int(entry["offset"]))
        return Tensor.lazy(type, entry["digest"], load)

    def _array(self, type: types.ArrayType, blob: str, offset: int) -> jax.Array:
        self._blobs.background.require(blob)
        # A read-only map at a multiple of 64 bytes is aliased, not copied.
        dtype, count = jax.numpy.dtype(type.dtype), math.prod(map(int, type.shape))
        array = np.frombuffer(self.map(blob), dtype=dtype, count=count, offset=offset)
        with jax.ensure_compile_time_eval():  # the model may be traced where it is first used
            return jax.device_put(array.reshape(type.shape))  # type: ignore[arg-type]
