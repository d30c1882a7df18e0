"""Writing: the Python expression of a term, and the variables of what it shares."""

import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lamda import kinds
from lamda.check import infer
from lamda.combinators.const import HOLD
from lamda.dims import fresh
from lamda.function import Function
from lamda.kind import Kind
from lamda.model import Model
from lamda.term import IDENTITY, Branch, Compose, Control, Lift, Named, Pick, Slot, Term, called
from lamda.testing import parts
from lamda.types import Type

MOST = 4096
"""How many numbers of an array are written out."""

RESERVED = (
    "Lift", "Model", "beside", "control", "jax", "jnp", "joined", "kinds", "lm", "model",
    "negative", "pair", "parts",
)  # fmt: skip
"""What the texts name that is no variable."""


class Writer:
    """The text of a model, and the lines before it that define what the text names.

    Inline, there are no lines: what is shared is named where it stands first. With ``inputs``,
    the types by the branches that are given them, each part of a branch says its type.
    """

    def __init__(
        self, model: Model, *, inline: bool, inputs: Mapping[int, Type] | None = None
    ) -> None:
        self.model = model
        self.inline = inline
        self.inputs = inputs or {}
        self.lines: list[str] = []
        self.modules: set[str] = set()
        self.taken = set[str](RESERVED)
        self.variables: dict[Any, str] = {}
        self.uses = _uses(model.term)
        self.text = self.write(model.term)

    def write(self, term: Term) -> str:
        """The expression of a term."""
        match term:
            case Lift():
                return self.lift(term)
            case Pick(key):
                return f"lm.pick({key!r})"
            case Compose(()):
                return "lm.identity"
            case Compose(parts):
                text: Callable[[], str] = lambda: self.sequence(parts)  # noqa: E731
            case _:
                text = lambda: self.plain(term)  # noqa: E731
        return text() if self.uses[id(term)] < 2 else self.variable(id(term), called(term), text)

    def plain(self, term: Term) -> str:
        """The expression of a term that is no lifted function and no composition."""
        match term:
            case Branch(()):
                return "lm.const(())"
            case Branch(_, None):
                return f"lm.branch({self.members(term)})"
            case Branch(members, names):
                assert names is not None
                pairs = [(n, self.member(term, m)) for n, m in zip(names, members, strict=True)]
                if all(name.isidentifier() for name in names):
                    return f"lm.branch({', '.join(f'{n}={text}' for n, text in pairs)})"
                return f"lm.branch(**{{{', '.join(f'{n!r}: {text}' for n, text in pairs)}}})"
            case Named(name, inner):
                return f"lm.named({self.write(inner)}, {name or 'unnamed'!r})"
            case Control(kind, bodies):
                return self.control(kind, bodies)
        raise AssertionError(term)

    def listed(self, terms: Sequence[Term]) -> str:
        """The expressions of several terms, as arguments."""
        return ", ".join(map(self.write, terms))

    def members(self, branch: Branch) -> str:
        """The expressions of the parts of a branch, as arguments."""
        return ", ".join(self.member(branch, part) for part in branch.parts)

    def member(self, branch: Branch, part: Term) -> str:
        text, type = self.write(part), self.inputs.get(id(branch))
        return text if type is None else f"{identity(type)} >> {text}"

    def variable(self, at: Any, name: str, text: Callable[[], str]) -> str:
        """A variable for what is written once and named after."""
        if at in self.variables:
            return self.variables[at]
        made = text()
        chosen = fresh(re.sub(r"\W", "_", name) or "f", self.taken)
        self.taken.add(chosen)
        self.variables[at] = chosen
        if self.inline:
            return f"({chosen} := {made})"
        self.lines.append(f"{chosen} = {made}")
        return chosen

    # --- compositions ---

    def sequence(self, terms: Sequence[Term]) -> str:
        """A composition; parts that a combinator puts side by side are written as it."""
        texts: list[str] = []
        rest = list(terms)
        while rest:
            pair = self.pair(*rest[:2]) if len(rest) > 1 else None
            texts.append(self.write(rest[0]) if pair is None else pair)
            del rest[: 1 if pair is None else 2]
        return " >> ".join(texts) or "lm.identity"

    def pair(self, one: Term, two: Term) -> str | None:
        """Two parts as one combinator makes them, or nothing."""
        match one, two:
            case Branch(()), Lift(function, slot) if function == HOLD and slot is not None:
                if self.inline and self.uses[slot.token] < 2:
                    return self.constant(two)
                return self.variable(slot.token, "constant", lambda: self.constant(two))
            case Branch((index, Compose(()))), Control(kinds.Switch(), bodies):
                return f"lm.switch({self.write(index)}, [{self.listed(bodies)}])"
            case Branch((router, Branch(experts, None)), None), Lift(function, None) if (
                function.key == ("join", "mix") and experts
            ):
                return f"lm.mixture({self.write(router)}, [{self.listed(experts)}])"
            case Branch(members, None), Lift(function, None) if members:
                return self.join(one, function)
        return None

    def constant(self, held: Lift) -> str:
        assert held.slot is not None
        return f"lm.const({value(self.model.environment[held.slot].arrays)})"

    def join(self, branch: Branch, function: Function) -> str | None:
        members = branch.parts
        match function.key:
            case ("join", "add") if len(members) == 2 and members[0] == IDENTITY:
                return f"lm.residual({self.member(branch, members[1])})"
            case ("join", "add" | "multiply" as name):
                return f"lm.{name}({self.members(branch)})"
            case ("join", "concat" | "stack" as name, axis):
                return f"lm.{name}({self.members(branch)}, axis={axis})"
            case ("join", "mean" | "max" as name):
                return f"lm.ensemble([{self.members(branch)}], reduce={name!r})"
        return None

    def control(self, kind: Kind, bodies: tuple[Term, ...]) -> str:
        match kind:
            case kinds.Iterate(count):
                return f"lm.iterate({self.write(bodies[0])}, n={count})"
            case kinds.Until():
                body, done = map(self.write, bodies)
                return f"lm.iterate({body}, until={done})"
            case kinds.Scan() | kinds.Vmap() | kinds.Remat():
                return f"lm.{kind.name}({self.listed(bodies)})"
        return f"control(kinds.{kind!r}, {self.listed(bodies)})"

    # --- lifted functions ---

    def lift(self, lift: Lift) -> str:
        """A lifted function: a variable where it has weights, or is there twice."""
        function, slot = lift.function, lift.slot
        if slot is None:
            once = self.uses[function, function.name] < 2
            made = (function, function.name), function.name, lambda: self.lifted(lift)
            return made[2]() if once else self.variable(*made)
        if self.inline and self.uses[slot.token] < 2:
            return self.weighted(lift)
        first = self.variables.setdefault((slot, "name"), function.name)
        made = self.variable(slot, first, lambda: self.weighted(lift))
        return made if function.name == first else f"lm.named({made}, {function.name!r})"

    def weighted(self, lift: Lift) -> str:
        """A lifted function with weights: frozen, or tied to one that is not."""
        assert lift.slot is not None
        if not lift.slot.frozen:
            return self.lifted(lift)
        trained = Slot(lift.slot.token)
        inner = self.lift(Lift(lift.function, trained)) if self.uses[trained] else None
        return f"lm.freeze({inner or self.lifted(lift)})"

    def lifted(self, lift: Lift) -> str:
        """The call that lifts a function."""
        function, slot = lift.function, lift.slot
        if function.key[0] != "python" and function.text:  # type: ignore[index]
            return f"Model(Lift({function.text}), {{}}, None, None, where='')"
        made, called = self.function(function)
        given = [made]
        if slot is not None and slot in self.model.environment:
            given.append(value(self.model.environment[slot].arrays))
        if function.input is not None:
            given.append(f"input={parts.written(function.input)}")
        if slot is not None and slot not in self.model.environment:
            init = function.init
            features = init.features if isinstance(init, parts.Initial) else None
            given += [] if features is None else [f"features={features}"]
            text = f"parts.open({', '.join(given)})"
            return text if called == function.name else f"lm.named({text}, {function.name!r})"
        given += [] if called == function.name else [f"name={function.name!r}"]
        return f"lm.lift({', '.join(given)})"

    def function(self, function: Function) -> tuple[str, str]:
        """The Python function that was lifted, and the name that lifting it gives."""
        match function.key:
            case ("python", parts.Spread() | parts.AtLeast() as part, _):
                return repr(part), part.__name__
            case ("python", python, _) if (found := importable(python)) is not None:
                module, name = found
                called = name.split(".")[-1]
                if module in SHORT:
                    return f"{SHORT[module]}.{name}", called
                self.modules.add(module)
                return f"{module}.{name}", called
        lost = "..." if self.inline else f"...  # made at {function.where}; no text makes it again"
        return self.variable((function, "lost"), f"{function.name}_function", lambda: lost), "f"


SHORT = {"jax.numpy": "jnp", "lamda.testing.parts": "parts"}


def identity(type: Type) -> str:
    """The identity at a type, which gives that type to what comes after it."""
    return f"lm.identity.init(jax.random.key(0), {parts.written(type)})"


def branched(model: Model) -> dict[int, Type]:
    """What every branch of a model is given."""
    found: dict[int, Type] = {}

    def walk(term: Term, input: Type) -> None:
        match term:
            case Compose(members):
                for part in members:
                    walk(part, input)
                    input = infer(part, input, model.weights_type).output
            case Branch(members):
                found[id(term)] = input
                for part in members:
                    walk(part, input)
            case Control(kind, bodies):
                for body, taken in zip(bodies, kind.inputs(input, len(bodies)), strict=True):
                    walk(body, taken)
            case Named(_, inner):
                walk(inner, input)

    walk(model.term, model.require_input())
    return found


def importable(function: Any) -> tuple[str, str] | None:
    """The module and the name by which a function can be imported, if it can."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    try:
        found = operator.attrgetter(str(name))(sys.modules[str(module)])
    except (AttributeError, KeyError):
        return None
    return (str(module), str(name)) if found is function else None


def value(tree: Any) -> str:
    """A tree of arrays as Python writes it."""
    if isinstance(tree, Mapping):
        return f"{{{', '.join(f'{key!r}: {value(tree[key])}' for key in tree)}}}"
    if isinstance(tree, tuple | list):
        inner = ", ".join(map(value, tree))
        return f"({inner}{',' if len(tree) == 1 else ''})"
    return _array(np.asarray(tree))


def _array(array: np.ndarray) -> str:
    dtype = jnp.dtype(array.dtype).name
    if array.size > MOST:
        return "..."
    if array.size == 0:
        return f"jnp.zeros({array.shape}, {dtype!r})"
    exact = array if array.dtype.kind in "biufc" else array.astype(np.float32)
    numbers = re.sub(r"\b(nan|inf)\b", r"jnp.\1", repr(exact.tolist()))
    return f"jnp.array({numbers}, {dtype!r})"


def _uses(term: Term) -> Counter[Any]:
    """How often every part is named: by its object, and by its function or its variable."""
    uses: Counter[Any] = Counter()
    pending = [term]
    while pending:
        part = pending.pop()
        uses[id(part)] += 1
        match part:
            case Lift(function, None):
                uses[function, function.name] += 1
            case Lift(_, slot):
                uses[slot] += 1
                uses[slot.token] += 1  # type: ignore[union-attr]
            case _ if uses[id(part)] == 1:
                pending += children(part)
    return uses


def children(term: Term) -> tuple[Term, ...]:
    """The parts of a term."""
    match term:
        case Compose(parts) | Branch(parts) | Control(_, parts):
            return parts
        case Named(_, inner):
            return (inner,)
    return ()
