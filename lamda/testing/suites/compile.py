"""Compiling: interpreted, jitted, exported and deployed, a model gives the same numbers.

XLA takes longer to start on a program than to compile one more part of it. So an example draws
several models, and compiles them together.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st

import lamda as lm
import serve
from lamda import program as stablehlo
from lamda import types
from lamda.compile import program
from lamda.model import Model
from lamda.testing import strategies
from lamda.testing.draw import Draw
from lamda.testing.folder import emptied, folder
from lamda.testing.law import Suite, law
from lamda.testing.level import Level, Tier, text
from lamda.testing.reference import reference
from lamda.testing.served import can_be_served, leaves_of, value_of
from lamda.testing.strategies.spellings import regroupings

MOST = 6
"""How many models an example compiles together."""


@law("the program of a spelling of m without marks is the program of m", Level.PROGRAM)
def spelling_leaves_no_trace(draw: Draw) -> Any:
    f = draw.model()
    return draw(regroupings(f, marks=False), "variant"), f


@law("the program of succ(m, w) is the program of m", Level.PROGRAM)
def a_successor_has_the_same_program(draw: Draw) -> Any:
    f = draw.model()
    return lm.succ(f, draw.weights(f)), f


@law("weights are arguments of a program, each once, and never constants", Level.PROGRAM)
def weights_are_no_constants(draw: Draw) -> Any:
    f = draw.model()
    wanted = sum(len(f.environment[slot].tensors) for slot in f.program.slots)
    taken = text(f).partition("->")[0].count("%arg") - len(list(types.leaves(f.require_input())))
    why = f"{wanted} tensors are read, and the program takes {taken}."
    weights_are_no_constants.require(wanted == taken, why)
    zeros = jax.tree.map(jnp.zeros_like, f.weights)
    return f.replace_weights(zeros), f


@law("jit(m)(x) = m(x) as it is written", Level.VALUE, Tier.XLA)
def jitted_is_interpreted(draw: Draw) -> Any:
    models, xs = _several(draw)
    return _jitted(models, xs), _interpreted(models, xs)


@law("get(put(m))(x) = m(x)", Level.VALUE, Tier.XLA)
def stored_is_interpreted(draw: Draw) -> Any:
    models, xs = _several(draw)
    with emptied() as store:
        back = [store.get(store.put(model)) for model in models]
        return _jitted(back, xs), _interpreted(models, xs)


@law("the exported program of m at x = m(x)", Level.VALUE, Tier.XLA)
def exported_is_interpreted(draw: Draw) -> Any:
    models, xs = _several(draw)
    made = [program.of(m, roll=False) for m in models]
    fixed = [p.at(_sizes(m, x)) for p, m, x in zip(made, models, xs, strict=True)]

    def main(weights: Any, inputs: Any) -> Any:
        return [s.main()(*w, *x) for s, w, x in zip(fixed, weights, inputs, strict=True)]

    weights = [[a.tensors[0].array for a in p.arguments] for p in made]
    inputs = [[jnp.asarray(leaf) for leaf in jax.tree.leaves(x)] for x in xs]
    exported = stablehlo.export(main, *jax.eval_shape(lambda *given: given, weights, inputs))
    back = jax.export.deserialize(bytearray(stablehlo.serialise(exported)))
    leaves = back.call(weights, inputs)
    trees = [jax.tree.structure(m.output, is_leaf=types.is_array) for m in models]
    given = tuple(jax.tree.unflatten(t, found) for t, found in zip(trees, leaves, strict=True))
    return given, _interpreted(models, xs)


@law("compile(m)(x) = m(x)", Level.VALUE, Tier.XLA)
def compiled_is_interpreted(draw: Draw) -> Any:
    m, x, sizes = _together(draw)
    handler = lm.compile(m, **{"roll": draw(st.sampled_from((None, True, False)), "roll"), **sizes})
    return handler(jax.tree.map(jnp.asarray, x)), reference(m, x)


@law("the bundle of m, loaded by serve, answers m(x)", Level.VALUE, Tier.XLA)
def deployed_is_interpreted(draw: Draw) -> Any:
    m, x, sizes = _together(draw)
    with folder() as path, _own_cache(path / "cache"):
        lm.bundle(m, path / "bundle", **sizes)
        handler = serve.load(path / "bundle")
        answer = value_of(handler.run(leaves_of(x)), m.output)
        handler.engine.close()
    return answer, reference(m, x)


COMPILE = Suite(
    "compile",
    (
        spelling_leaves_no_trace,
        a_successor_has_the_same_program,
        weights_are_no_constants,
        jitted_is_interpreted,
        stored_is_interpreted,
        exported_is_interpreted,
        compiled_is_interpreted,
        deployed_is_interpreted,
    ),
)


def _several(draw: Draw) -> tuple[list[Model], list[Any]]:
    """Some models, and an input of each."""
    models = [draw.model(f"f{i}") for i in range(draw(st.integers(1, MOST), "how many"))]
    return models, [draw.input(m, f"x{i}") for i, m in enumerate(models)]


def _together(draw: Draw) -> tuple[Model, Any, dict[str, Any]]:
    """Some models side by side, an input of them, and its sizes."""
    count = draw(st.integers(1, MOST), "how many")
    models = [m for m in (draw.model(f"f{i}") for i in range(count)) if can_be_served(m)]
    m = lm.parallel(*(models or [lm.lift(jnp.negative, input="float32[b]")]))
    names = types.names(m.require_input())
    sizes = {name: draw(st.integers(1, 3), name) for name in names}
    return m, draw(strategies.arrays(m.require_input(), sizes), "x"), sizes


def _jitted(models: Sequence[Model], xs: Sequence[Any]) -> Any:
    """What models give, computed by one executable."""
    run = jax.jit(lambda models, xs: tuple(m(x) for m, x in zip(models, xs, strict=True)))
    return run(list(models), [jax.tree.map(jnp.asarray, x) for x in xs])


def _interpreted(models: Sequence[Model], xs: Sequence[Any]) -> Any:
    return tuple(reference(m, x) for m, x in zip(models, xs, strict=True))


def _sizes(model: Model, x: Any) -> dict[str, int]:
    """The sizes that the named dimensions of a model have at an input."""
    leaves = [leaf for _, leaf in types.leaves(model.require_input())]
    return {
        dim: size
        for leaf, array in zip(leaves, jax.tree.leaves(x), strict=True)
        for dim, size in zip(leaf.shape, array.shape, strict=True)
        if isinstance(dim, str)
    }


@contextmanager
def _own_cache(path: Path) -> Iterator[None]:
    """What serve remembers of files goes to this directory, while the block runs."""
    before = os.environ.get("LAMDA_CACHE")
    os.environ["LAMDA_CACHE"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LAMDA_CACHE"]
        else:
            os.environ["LAMDA_CACHE"] = before
