"""Rules: how each combinator of the language reaches a goal."""

from collections.abc import Callable, Sequence
from typing import Any

import lamda as lm
from lamda import types as kinds
from lamda.kinds.axis import along, first, without
from lamda.model import Model
from lamda.testing import parts
from lamda.testing.strategies.build import Builder, Make, Rule, at
from lamda.testing.strategies.goal import reaches, rowwise
from lamda.testing.strategies.primitives import FLOATS, NUMBERS, lifted
from lamda.types import ArrayType, Type

# --- one after the other ---


def compose(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    def make() -> Model:
        middle = builder.middle(input, output)
        f, g = builder.pair((input, middle), (middle, output), size)
        return lm.compose(f, g)

    return make


def repeat(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if not _same(input, output):
        return None
    return lambda: (
        at(input) >> lm.repeat(builder.build(input, input, size - 1), builder.choose(2, 3, 1, 0))
    )


# --- side by side ---


def branch(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    match output:
        case ArrayType():
            return None
        case tuple() if output:
            goals = [(input, part) for part in output]
            return lambda: lm.branch(*_members(builder, goals, size))
        case dict() if output:
            goals = [(input, part) for part in output.values()]
            return lambda: lm.branch(
                **dict(zip(output, _members(builder, goals, size), strict=True))
            )
    return None


def _members(builder: Builder, goals: Sequence[tuple[Type, Type]], size: int) -> list[Model]:
    """A model for each goal; all the same one, where all goals are."""
    same = all(_same(goal, goals[0]) for goal in goals)
    if same and len(goals) > 1 and builder.choose(False, False, True):
        return [builder.build(*goals[0], size - 1)] * len(goals)
    return builder.several(list(goals), size)


def parallel(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    match input, output:
        case tuple(), tuple() if 0 < len(input) == len(output):
            goals = list(zip(input, output, strict=True))
            if _all_reach(goals):
                return lambda: at(input) >> lm.parallel(*builder.several(goals, size))
        case dict(), dict() if input and input.keys() == output.keys():
            goals = [(input[key], output[key]) for key in output]
            if _all_reach(goals):
                return lambda: (
                    at(input)
                    >> lm.parallel(**dict(zip(output, builder.several(goals, size), strict=True)))
                )
    return None


def first_(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    match input, output:
        case (a, b), (c, d) if _same(b, d) and reaches(a, c):
            return lambda: at(input) >> lm.first(builder.build(a, c, size - 1))
    return None


def second(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    match input, output:
        case (a, b), (c, d) if _same(a, c) and reaches(b, d):
            return lambda: at(input) >> lm.second(builder.build(b, d, size - 1))
    return None


def swap(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    match input:
        case (a, b):
            return lambda: at(input) >> lm.swap >> builder.build((b, a), output, size - 1)
    return None


def pick(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if isinstance(input, ArrayType):
        return None
    keys = range(len(input)) if isinstance(input, tuple) else list(input)
    open_to = [key for key in keys if reaches(input[key], output)]  # type: ignore[index]
    if not open_to:
        return None

    def make() -> Model:
        key = builder.choose(*open_to)
        return at(input) >> lm.pick(key) >> builder.build(input[key], output, size - 1)  # type: ignore[index]

    return make


# --- joined ---


def residual(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if not _same(input, output) or not _all(output, NUMBERS):
        return None
    return lambda: lm.residual(builder.build(input, input, size - 1))


def joining(join: Callable[..., Model], dtypes: Sequence[str] = NUMBERS) -> Rule:
    """The rule of a combinator whose parts and result have one type."""

    def rule(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
        if not _all(output, dtypes):
            return None
        return lambda: join(*_members(builder, [(input, output)] * 2, size - 1))

    return rule


def ensemble(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if not _all(output, NUMBERS):
        return None
    words = ("mean", "sum", "max") if _all(output, FLOATS) else ("sum", "max")
    return lambda: lm.ensemble(
        _members(builder, [(input, output)] * 2, size - 1), reduce=builder.choose(*words)
    )


def mixture(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    leaves = [leaf for _, leaf in kinds.leaves(output)]
    if (
        not leaves
        or leaves[0].dtype not in FLOATS
        or any(
            leaf.dtype != leaves[0].dtype or leaf.shape[:1] != leaves[0].shape[:1]
            for leaf in leaves
        )
    ):
        return None
    rows = leaves[0].shape[:1] if isinstance((*leaves[0].shape, 0)[0], str) else ()
    if rowwise(input, output) and not rows:
        return None
    scores = ArrayType(leaves[0].dtype, (*rows, 2))

    def make() -> Model:
        goals: list[tuple[Type, Type]] = [(input, scores), (input, output), (input, output)]
        router, *experts = builder.several(goals, size - 1)
        return lm.mixture(router, experts)

    return make


def concat(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    axes = _axes(output, 2)
    if not axes:
        return None

    def make() -> Model:
        axis = builder.choose(*reversed(axes))
        length = int(output.shape[axis])  # type: ignore[union-attr]
        goals: list[tuple[Type, Type]] = [(input, _with(output, axis, n)) for n in (1, length - 1)]
        return lm.concat(*builder.several(goals, size - 1), axis=axis)

    return make


def stack(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    axes = [axis for axis in _axes(output, 1) if output.shape[axis] <= 3]  # type: ignore
    if not axes:
        return None

    def make() -> Model:
        axis = builder.choose(*axes)
        count = int(output.shape[axis])  # type: ignore[union-attr]
        goals: list[tuple[Type, Type]] = [(input, _with(output, axis))] * count
        return lm.stack(*_members(builder, goals, size - 1), axis=axis)

    return make


# --- the same, otherwise ---


def wrapping(wrap: Callable[[Model], Model]) -> Rule:
    """The rule of a combinator of one model that keeps its type."""

    def rule(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
        return lambda: wrap(builder.build(input, output, size - 1))

    return rule


def partial(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    def make() -> Model:
        fixed = ArrayType("float32", builder.choose((), (2,)))
        at_ = builder.choose(0, 1)
        whole = (fixed, input) if at_ == 0 else (input, fixed)
        return lm.partial(builder.build(whole, output, size - 1), builder.value(fixed), at=at_)

    return make


def const(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if any(isinstance(d, str) for _, leaf in kinds.leaves(output) for d in leaf.shape):
        return None
    return lambda: at(input) >> lm.const(builder.value(output))


# --- control ---


def cond(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    return _choosing(builder, input, output, size, "bool", lambda i, fs: lm.cond(i, *fs))


def switch(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    return _choosing(builder, input, output, size, "int32", lambda i, fs: lm.switch(i, fs))


def _choosing(
    builder: Builder, input: Type, output: Type, size: int, dtype: str, made: Any
) -> Make | None:
    if rowwise(input, output):  # one choice for all rows: rows would not be rows
        return None

    def make() -> Model:
        chosen = ArrayType(dtype, ())
        goals = [(input, chosen), (input, output), (input, output)]
        index, *choices = builder.several(goals, size - 1)
        return made(index, choices)

    return make


def iterate(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if not _same(input, output):
        return None

    def make() -> Model:
        body = builder.build(input, input, size - 1)
        count = builder.choose(2, 0, 1, 3)
        return at(input) >> (
            _until(body, input, count) if builder.choose(False, True) else lm.iterate(body, n=count)
        )

    return make


def _until(body: Model, type: Type, count: int) -> Model:
    """A loop that counts beside what it does, and stops at ``count``."""
    start = lm.branch(lifted(parts.zero, type), lm.identity)
    whole = ArrayType("int32", ())
    step = at((whole, type)) >> lm.parallel(lifted(parts.increment, whole), body)
    enough = lm.pick(0) >> lifted(parts.at_least(count), whole)
    return start >> lm.iterate(step, until=at((whole, type)) >> enough) >> lm.pick(1)


def scan(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    if not reaches(input, output):
        return None

    def make() -> Model:
        state = builder.kept(input, output, *builder.choose((), (2,)))
        x = builder.kept(input, output)
        y = builder.kept(input, output, *builder.choose((), (1,)))
        steps = builder.choose(2, 1, 3)
        start = lm.branch(*builder.pair((input, state), (input, along(steps, x)), size // 3))
        body = builder.build((state, x), (state, y), size // 3)
        end = builder.build((state, along(steps, y)), output, size // 3)
        return start >> lm.scan(body) >> end

    return make


def vmap(builder: Builder, input: Type, output: Type, size: int) -> Make | None:
    axis = first(input)
    if axis is None or first(output) != axis or not reaches(without(input), without(output)):
        return None
    return lambda: at(input) >> lm.vmap(builder.build(without(input), without(output), size - 1))


def _same(left: Any, right: Any) -> bool:
    return kinds.plain(left) == kinds.plain(right)


def _all(type: Type, dtypes: Sequence[str]) -> bool:
    """Whether every array of a type has one of these dtypes, and there is an array."""
    leaves = list(kinds.leaves(type))
    return bool(leaves) and all(leaf.dtype in dtypes for _, leaf in leaves)


def _all_reach(goals: list[tuple[Type, Type]]) -> bool:
    return all(reaches(input, output) for input, output in goals)


def _axes(type: Type, least: int) -> list[int]:
    """The axes of an array type of known size from ``least``."""
    if not isinstance(type, ArrayType):
        return []
    return [i for i, d in enumerate(type.shape) if isinstance(d, int) and d >= least]


def _with(type: Any, axis: int, *size: int) -> ArrayType:
    """The array type with another size of one axis, or without it."""
    return ArrayType(type.dtype, (*type.shape[:axis], *size, *type.shape[axis + 1 :]))


RULES: dict[Any, Rule] = {
    lm.compose: compose,
    lm.branch: branch,
    lm.pick: pick,
    lm.add: joining(lm.add),
    lm.residual: residual,
    lm.multiply: joining(lm.multiply),
    lm.named: wrapping(lambda f: lm.named(f, "part")),
    lm.freeze: wrapping(lm.freeze),
    lm.fresh: wrapping(lm.fresh),
    lm.remat: wrapping(lm.remat),
    lm.parallel: parallel,
    lm.first: first_,
    lm.second: second,
    lm.swap: swap,
    lm.ensemble: ensemble,
    lm.mixture: mixture,
    lm.concat: concat,
    lm.stack: stack,
    lm.const: const,
    lm.partial: partial,
    lm.cond: cond,
    lm.switch: switch,
    lm.repeat: repeat,
    lm.iterate: iterate,
    lm.scan: scan,
    lm.vmap: vmap,
}
"""How each public combinator reaches a goal, simplest first."""
