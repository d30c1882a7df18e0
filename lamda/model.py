"""Models: a term closed with its weights. An immutable value, a pure function, a JAX pytree.

A model is a closure: a :class:`~lamda.term.Term` whose variables are bound to weights by an
environment. Its leaves, as a pytree, are the weights that can be trained; frozen weights are part
of its structure, so no transformation ever differentiates them.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any

import jax

from lamda import address, check, errors, evaluate, normal, tree, types
from lamda.normal import Graph
from lamda.receipt import Receipt
from lamda.tensor import Tensor, Weights
from lamda.term import Lift, Slot, Term, Token, called, erase, lifts, rename, written
from lamda.types import Type

LONG = 500
"""Parts of a term that is still written out."""

Environment = Mapping[Slot, Weights]


class Model:
    """A term with weights: ``model(x)`` is a pure function of ``x``.

    >>> import jax.numpy as jnp, lamda as lm
    >>> scale = lm.lift(lambda w, x: x * w, jnp.float32(2), input="float32[n]", name="scale")
    >>> scale(jnp.ones(2)).tolist(), scale.weights.item()
    ([2.0, 2.0], 2.0)

    Models are made by :func:`lift` and by combining models, never by calling this class. They
    are immutable; whatever changes one gives a new one.
    """

    before: "Model | Callable[[], Model | None] | None"
    _memo: dict[Any, Any]
    __slots__ = (
        "__weakref__", "_memo", "before", "environment", "input", "output", "receipt", "term",
        "where",
    )  # fmt: skip

    term: Term
    """How it is combined."""
    environment: Environment
    """The weights of every variable that is bound."""
    input: Type | None
    """The type of its input; ``None`` where it takes what it is given."""
    output: Type | None
    """The type of its output; ``None`` where that depends on an unknown input."""
    where: str
    """The file and line where it was made."""
    receipt: Receipt | None
    """How it was trained, where it was."""

    def __init__(
        self,
        term: Term,
        environment: Environment,
        input: Type | None,
        output: Type | None,
        *,
        where: str,
        pred: "Model | Callable[[], Model | None] | None" = None,
        receipt: Receipt | None = None,
    ) -> None:
        set_ = partial(object.__setattr__, self)
        set_("term", term)
        set_("environment", environment)
        set_("input", input)
        set_("output", output)
        set_("where", where)
        set_("receipt", receipt)
        set_("before", pred)
        set_("_memo", {})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"models are immutable: {name} can not be set; make a new model")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"models are immutable: {name} can not be deleted")

    def remember(self, what: Hashable, value: Any) -> None:
        """Keep what is known of this model and costs to find out: it is a value, and stays true."""
        self._memo[what] = value

    def remembered(self, what: Hashable) -> Any:
        """What :meth:`remember` kept; ``None`` where nothing was."""
        return self._memo.get(what)

    # --- what it is ---

    @property
    def name(self) -> str:
        """The term as one would write it on a board; of a very long one, how long it is."""
        length = written(self.term)
        return str(self.term) if length <= LONG else f"{called(self.term)} of {length:,} parts"

    @property
    def slots(self) -> dict[Slot, tuple[str, ...]]:
        """Every variable with the path of its weights, in order of first appearance."""
        if "slots" not in self._memo:
            found: dict[Slot, tuple[str, ...]] = {}
            for path, lift in lifts(self.term):
                if lift.slot is not None:
                    found.setdefault(lift.slot, path)
            self._memo["slots"] = found
        return self._memo["slots"]

    @property
    def open(self) -> bool:
        """Whether weights are missing: close it by :meth:`init`."""
        return any(slot not in self.environment for slot in self.slots)

    def tensors(self) -> list[tuple[tuple[str, ...], Tensor, bool]]:
        """Every tensor as ``(path, tensor, trained)``, tied ones once."""
        self.require_closed()
        return [
            ((*path, *leaf), tensor, tensor.floating and not slot.frozen)
            for slot, path in self.slots.items()
            for leaf, tensor in self.environment[slot].items()
        ]

    @property
    def weights(self) -> Any:
        """The weights that training changes, by path: a tree of arrays.

        Parts of a composition are found by name, parts of a branch by key; frozen weights are
        absent (a ``None`` where a tree must keep its places).
        """
        self.require_closed()
        return tree.of(self.slots, self.environment, lambda slot, t: t.floating and not slot.frozen)

    @property
    def frozen(self) -> Any:
        """The weights that training leaves alone, by path."""
        self.require_closed()
        return tree.of(self.slots, self.environment, lambda slot, t: slot.frozen or not t.floating)

    @property
    def address(self) -> str:
        """``sha256:...`` of the normal form and the weights: equal exactly by the laws."""
        if "address" not in self._memo:
            self.require_closed()
            graph = normal.normalise(
                erase(self.term), self.require_input(), self._content, self.weights_type
            )
            bound = [self.environment[slot] for slot in graph.slots]
            self._memo["address"] = address.address(
                graph, lambda i: bound[i].type, lambda i: bound[i].digests
            )
        return self._memo["address"]

    @property
    def program(self) -> Graph:
        """The normal form over what can never differ.

        That is tied parts, and frozen parts of equal content. It does not look at weights that
        are trained, so every successor has the same one.
        """
        return self.program_at(self.require_input())

    def program_at(self, input: Type) -> Graph:
        """The program for an input of the given type."""
        key = ("program", types.plain(input))
        if key not in self._memo:
            self.require_closed()
            self._memo[key] = self.graph(input, self._identity)
        return self._memo[key]

    def graph(self, input: Type, same: Callable[[Slot], Hashable]) -> Graph:
        """The normal form where ``same`` says which weights are one."""
        return normal.normalise(self.term, input, same, self.weights_type)

    def weights_type(self, lift: Lift, input: Type) -> Type:
        """The type of the weights of one part, bound or not."""
        if lift.slot is None:
            return ()
        bound = self.environment.get(lift.slot)
        return lift.function.weights(input) if bound is None else bound.type

    def _identity(self, slot: Slot) -> Hashable:
        # Inside of a transformation numbers have no content: a frozen part is then itself.
        known = slot.frozen and not self.environment[slot].traced
        return self._content(slot) if known else slot.token

    def _content(self, slot: Slot) -> Hashable:
        # With the tree, for equal tensors under other names are not what a function asks for.
        bound = self.environment[slot]
        return bound.structure, bound.digests

    def require_closed(self) -> None:
        if self.open:
            raise errors.OpenError(errors.OPEN_WEIGHTS.format(name=self.name))

    def require_input(self) -> Type:
        if self.input is None:
            raise errors.OpenError(errors.OPEN_INPUT.format(name=self.name))
        return self.input

    # --- what it does ---

    def __call__(self, x: Any, key: jax.Array | None = None) -> Any:
        """The value at ``x``; or the answer to the messages ``"who"``, ``"pred"``, ``"succ"``.

        With a ``key``, parts that are random (dropout) draw from it; without, they do not.
        """
        if isinstance(x, str):
            from lamda.versions import answer

            return answer(self, x)
        from lamda.abstraction import applied

        if (symbol := applied(self, x)) is not None:
            return symbol
        self.require_closed()
        graph = self.program_at(self.accept(types.typeof(x)))
        return _run(graph, [self.environment[slot].arrays for slot in graph.slots], x, key)

    def apply(self, weights: Any, x: Any, key: jax.Array | None = None) -> Any:
        """The value at ``x`` with other weights; ``m.apply(m.weights, x)`` is ``m(x)``."""
        return self.replace_weights(weights)(x, key)

    def accept(self, given: Type) -> Type:
        """The input type to run at: the declared one if there is one, checked for ``given``."""
        place = check.first(self.term, self.where)
        if self.input is None:
            check.infer(self.term, given, self.weights_type)
            return given
        check.agree((check.INPUT, given), (place, self.input))
        return self.input

    def init(self, key: jax.Array, input: Any = None) -> "Model":
        """The model closed: every open part gets weights from its initialiser.

        Each part's key is ``key`` folded with the path of the part, so neither brackets nor other
        parts change what it gets. ``input`` is a type or a value, needed where the first part
        declares none; named dimensions count as 1 while initialising.
        """
        from lamda.close import close

        return close(self, key, input)

    def replace_weights(self, weights: Any) -> "Model":
        """The model with the weights of a tree like :attr:`weights`. Raises SpecError otherwise."""
        tree.require_like(self.name, self.weights, weights)
        return self.with_weights(jax.tree.map(_array, weights))

    def with_weights(self, weights: Any) -> "Model":
        """As :meth:`replace_weights`, unchecked: whatever a transformation puts in the tree."""
        placed = self.place(weights)
        return self.bind({s: w for s, w in placed.items() if w is not self.environment[s]})

    def place(self, weights: Any) -> Environment:
        """The environment with the weights of a tree like :attr:`weights`."""
        return tree.placed(self.slots, self.environment, weights)

    def bind(self, bound: Environment, **types: Type) -> "Model":
        """The model with variables bound anew: what has other weights is another part."""
        tokens = {token: Token() for token in dict.fromkeys(slot.token for slot in bound)}
        moved = {slot: Slot(tokens[slot.token], slot.frozen) for slot in bound}
        return self.derive(
            rename(self.term, lambda slot: moved.get(slot, slot)),
            {s: w for s, w in self.environment.items() if s not in bound}
            | {moved[slot]: weights for slot, weights in bound.items()},
            **types,
        )

    def derive(self, term: Term, environment: Environment, **changes: Any) -> "Model":
        """A model like this one with another term of the same type."""
        fields: dict[str, Any] = {"input": self.input, "output": self.output, "where": self.where}
        return Model(term, environment, **(fields | changes))

    # --- how it is written ---

    def __rshift__(self, other: "Model") -> "Model":
        from lamda.combinators import compose

        return compose(self, other) if isinstance(other, Model) else NotImplemented

    def __and__(self, other: "Model") -> "Model":
        from lamda.combinators import branch

        return branch(self, other) if isinstance(other, Model) else NotImplemented

    def __matmul__(self, other: "Model") -> "Model":
        from lamda.combinators import parallel

        return parallel(self, other) if isinstance(other, Model) else NotImplemented

    def __getitem__(self, at: int | str | slice) -> "Model":
        """A part: see :func:`lamda.surgery.item`."""
        from lamda.surgery import item

        return item(self, at)

    def __len__(self) -> int:
        """How many parts a composition has; what is no composition is one part."""
        from lamda.surgery import length

        return length(self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator["Model"]:
        """The parts of a composition, in order."""
        return (self[i] for i in range(len(self)))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{self.name}: {types.show(self.input)} -> {types.show(self.output)}>"

    def draw(self) -> str:
        """The program as an SVG picture."""
        from lamda.draw import svg

        return svg(self)

    def mermaid(self) -> str:
        """The program as a mermaid flowchart."""
        from lamda.draw import mermaid

        return mermaid(self)

    def tabulate(self) -> str:
        """Every tensor in a row: path, type, numbers, whether it is trained, digest; totals."""
        from lamda.table import rows, tabulate

        return tabulate(rows(self))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: the picture, or the text where there is nothing to draw."""
        drawn = {} if self.open or self.input is None else {"image/svg+xml": self.draw()}
        return {"text/plain": repr(self)} | drawn


@partial(jax.jit, static_argnums=0)
def _run(graph: Graph, weights: list[Any], x: Any, key: jax.Array | None) -> Any:
    return evaluate.run(graph, weights, x, key)


def _array(leaf: Any) -> Any:
    """A leaf of weights as an array, where it is a number of Python."""
    return jax.numpy.asarray(leaf) if isinstance(leaf, bool | int | float | complex) else leaf


def models(what: str, values: Any) -> list[Model]:
    """The arguments of a combinator, which must be models. Raises SpecError."""
    for value in values:
        if not isinstance(value, Model):
            short = getattr(value, "__name__", "f")
            raise errors.SpecError(errors.BAD_PART.format(what=what, value=value, short=short))
    if not values:
        raise errors.SpecError(errors.NO_PARTS.format(what=what))
    return list(values)
