"""Trees of weights: what the variables of a term are bound to, by the path of each.

Parts of a composition are found by name, parts of a branch by key. A variable that has nothing in a
tree is absent from it, with ``None`` where a tree must keep its places.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from lamda import errors, types
from lamda.tensor import Tensor, Weights
from lamda.term import Slot

Paths = Mapping[Slot, tuple[str, ...]]
"""Where the weights of every variable stand."""


def of(
    paths: Paths, environment: Mapping[Slot, Weights], wanted: Callable[[Slot, Tensor], bool]
) -> Any:
    """The tree of the arrays that are wanted."""
    root: dict[str, Any] = {}
    for slot, path in paths.items():
        bound = environment[slot]
        arrays = [t.array if wanted(slot, t) else None for t in bound.tensors]
        if not path:
            return jax.tree.unflatten(bound.structure, arrays)
        if any(a is not None for a in arrays):
            node = root
            for key in path[:-1]:
                node = node.setdefault(key, {})
            node[path[-1]] = jax.tree.unflatten(bound.structure, arrays)
    return root


def placed(paths: Paths, environment: Mapping[Slot, Weights], tree: Any) -> dict[Slot, Weights]:
    """The environment with what a tree has for the weights that are trained."""
    return {
        slot: old if slot.frozen else _placed(old, _at(tree, path))
        for slot, path in paths.items()
        for old in (environment[slot],)
    }


def require_like(name: str, old: Any, new: Any) -> None:
    """Raises SpecError unless two trees of weights have the same paths, shapes and dtypes."""
    wanted = dict(jax.tree_util.tree_flatten_with_path(old)[0])
    given = dict(jax.tree_util.tree_flatten_with_path(new)[0])
    for path in [*wanted, *given]:
        a, b = (None if path not in tree else types.typeof(tree[path]) for tree in (wanted, given))
        if a != b:
            raise errors.SpecError(
                errors.WEIGHTS_TREE.format(
                    name=name,
                    path=jax.tree_util.keystr(path) or "the root",
                    wanted="nothing" if a is None else types.show(a),
                    given="nothing" if b is None else types.show(b),
                )
            )


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path; ``None`` where nothing of it is trained."""
    for key in path:
        tree = None if tree is None else tree.get(key)
    return tree


def _placed(old: Weights, tree: Any) -> Weights:
    if tree is None:
        return old
    values = old.structure.flatten_up_to(tree)
    pairs = list(zip(old.tensors, values, strict=True))
    new = tuple(t.put(v) if t.floating else t for t, v in pairs)
    same = all(a is b for a, b in zip(new, old.tensors, strict=True))
    return old if same else Weights(old.structure, new)
