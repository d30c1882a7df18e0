"""Low-rank adaptation: a small change of frozen weights is what is trained."""

from collections.abc import Callable
from functools import reduce
from operator import getitem
from typing import Any

import jax
import jax.numpy as jnp

from lamda import check, errors, types
from lamda.close import fold
from lamda.combinators.reweight import READ, TERMINAL, Part, part
from lamda.function import Function
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Branch, Lift, Named, Slot, Term, Token, rename, rewrite, sequence
from lamda.types import ArrayType, Type

Path = tuple[str, ...]


def lora(
    model: Model,
    rank: int,
    *,
    key: jax.Array,
    alpha: float | None = None,
    where: Callable[[Path], bool] = lambda path: True,
) -> Model:
    """``lora(f, r, key=key)(x)`` is ``f(x)`` with every matrix ``w + (a @ b) * (alpha / r)``.

    ``w`` is frozen, ``a`` and ``b`` are trained: for ``w`` of shape ``[m, n]``, ``a`` is
    ``[m, r]``, normal with variance ``1 / m``, and ``b`` is ``[r, n]``, zeros; both of the dtype
    of ``w``. A tensor of three dimensions is a stack of matrices. ``alpha`` is ``r`` if not said.
    ``where`` chooses by path, as in ``where=lambda path: "attention" in path``; all other weights
    are frozen as they are. ``key`` is folded with the path of each part.

    >>> import jax, jax.numpy as jnp, lamda as lm
    >>> f = lm.lift(lambda w, x: x @ w, jnp.eye(3), input="float32[b, 3]", name="f")
    >>> adapted = lora(f, 1, key=jax.random.key(0))
    >>> jax.tree.map(jnp.shape, adapted.weights)
    {'lora': {'a': (3, 1), 'b': (1, 3)}}
    >>> bool((adapted(jnp.ones((2, 3))) == f(jnp.ones((2, 3)))).all())
    True

    Laws: before it is trained it computes what ``f`` does, within ulps; it is another term of
    other weights, so the address is another. Tied parts have one ``a`` and ``b``.
    ``lora(quantize(f), r)`` trains beside weights that are quantised.

    Raises OpenError for open models, SpecError for a rank below 1 or where there is no matrix.

    Source: LoRA, https://arxiv.org/abs/2106.09685, section 4.1.
    """
    model.require_closed()
    if type(rank) is not int or rank < 1:
        raise errors.SpecError(errors.LORA_RANK.format(given=rank))
    environment = {_frozen(slot): bound for slot, bound in model.environment.items()}
    made: dict[tuple[Token, ...], Slot] = {}

    def change(term: Term) -> Term | None:
        found = part(term, model)
        if found is None or not found.slots:
            return None
        type = check.infer(found.weights, (), model.weights_type).output
        path = model.slots[found.slots[0]]
        matrices = [
            at
            for at, leaf in types.leaves(type)
            if _is_matrix(leaf) and where((*path, *_names(at)))
        ]
        if not matrices:
            return rename(term, _frozen)
        tied = tuple(slot.token for slot in found.slots)
        if tied not in made:
            made[tied] = Slot(Token())
            tree = _adapters(type, matrices, rank, fold(key, path))
            environment[made[tied]] = Weights.of(tree)
        scale = (rank if alpha is None else alpha) / rank
        return _adapted(found, made[tied], _sum(type, matrices, scale, found.name))

    term = rewrite(model.term, change)
    if not made:
        raise errors.SpecError(errors.LORA_NOTHING.format(name=model))
    return model.derive(term, environment)


def _adapted(part: Part, slot: Slot, merge: Function) -> Term:
    both = Branch((rename(part.weights, _frozen), Lift(READ, slot)), ("base", "lora"))
    return part.bound(sequence(TERMINAL, Named("", both), Lift(merge)))


def _frozen(slot: Slot) -> Slot:
    return Slot(slot.token, frozen=True)


def _names(path: tuple[str | int, ...]) -> Path:
    return tuple(map(str, path))


def _is_matrix(leaf: ArrayType) -> bool:
    return len(leaf.shape) in (2, 3) and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _adapters(
    type: Type, matrices: list[tuple[str | int, ...]], rank: int, key: jax.Array
) -> dict[str, Any]:
    """``a`` and ``b`` of each matrix, in a tree of dicts, each at the path of its matrix."""
    tree: dict[str, Any] = {}
    for path in matrices:
        leaf: Any = reduce(getitem, path, type)  # type: ignore[arg-type]
        node = tree
        for name in _names(path):
            node = node.setdefault(name, {})
        *stack, m, n = leaf.shape
        a = jax.random.normal(fold(key, _names(path)), (*stack, m, rank), jnp.float32)
        node["a"] = (a / m**0.5).astype(leaf.dtype)
        node["b"] = jnp.zeros((*stack, rank, n), leaf.dtype)
    return tree


def _sum(type: Type, matrices: list[tuple[str | int, ...]], scale: float, name: str) -> Function:
    """The function that adds what is adapted to what is there."""
    order = [path for path, _ in types.leaves(type)]

    def call(_: Any, both: dict[str, Any]) -> Any:
        leaves, structure = jax.tree.flatten(both["base"])
        for path in matrices:
            pair: Any = reduce(getitem, _names(path), both["lora"])
            leaves[order.index(path)] += (pair["a"] @ pair["b"]) * scale
        return jax.tree.unflatten(structure, leaves)

    key = ("lora", types.plain(type), tuple(matrices), scale)
    return Function(call, key=key, name=f"weights of {name}", where="lamda")
