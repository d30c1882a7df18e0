"""Versions: a successor is another function of the same program, and nothing is forgotten."""

from collections.abc import Iterator
from typing import Any

import jax
from hypothesis.strategies import booleans

import lamda as lm
from lamda.function import Function
from lamda.model import Model
from lamda.normal import Graph
from lamda.testing.draw import Draw
from lamda.testing.law import Suite, law
from lamda.testing.level import Level, Tier
from lamda.testing.observe import equal, state, tensors, traced
from lamda.testing.strategies.lineage import versions
from lamda.testing.weighted import weighted
from lamda.types import names


@law("pred(succ(m, w)) is m", Level.TERM)
def the_predecessor_of_the_successor_is_the_model(draw: Draw):
    m = weighted(draw)
    new = lm.succ(m, draw.weights(m))
    equal("the predecessor is not the model itself", lm.pred(new) is m, True)
    return lm.pred(new), m


@law("succ(m, w) has the program of m", Level.PROGRAM)
def a_successor_has_the_program_of_its_predecessor(draw: Draw):
    m = weighted(draw)
    new = lm.succ(m, draw.weights(m))
    equal("the graphs are not equal", (new.program == m.program), True)
    equal("their hashes are not equal", hash(new.program), hash(m.program))
    equal("the trees differ", jax.tree.structure(new), jax.tree.structure(m))
    return new, m


@law("succ(m, w) has the type of m", Level.TYPE)
def a_successor_has_the_type_of_its_predecessor(draw: Draw):
    m = weighted(draw)
    return lm.succ(m, draw.weights(m)), m


@law("succ(m, w).weights = w", Level.TERM)
def a_successor_has_the_weights_given(draw: Draw):
    m = weighted(draw)
    w = draw.weights(m)
    new = lm.succ(m, w)
    given = [w.tobytes() for w in map(_host, jax.tree.leaves(w))]
    equal("the bits differ", [w.tobytes() for w in map(_host, jax.tree.leaves(new))], given)


@law("succ(m, m.weights) = m", Level.ADDRESS)
def the_same_weights_are_the_same_address(draw: Draw):
    m = weighted(draw)
    copied = jax.tree.map(lambda w: _host(w).copy(), m.weights)
    return lm.succ(m, copied), m


@law("succ(m, w) = m only where w is m.weights, as far as m reads them", Level.ADDRESS)
def other_weights_are_another_address(draw: Draw):
    m = weighted(draw)
    old = m.address
    new = lm.succ(m, draw.weights(m))
    same = list(read(m, m.program)) == list(read(new, new.program))
    equal("the addresses are equal", new.address == old, same)


@law("succ(m, w) leaves m as it was", Level.TERM)
def a_successor_leaves_its_predecessor_as_it_was(draw: Draw):
    m = weighted(draw)
    before = state(m)
    new = lm.succ(m, draw.weights(m))
    lm.succ(new, new.weights)
    equal("the predecessor has changed", state(m), before)


@law("m('who'), m('pred'), m('succ') are who(m), pred(m), w -> succ(m, w)", Level.ADDRESS)
def a_model_answers_its_messages(draw: Draw):
    lineage = draw(versions(draw.subject.models), "versions")
    for m in lineage:
        equal("who", m("who"), m.address)
        equal("pred", m("pred") is lm.pred(m), True)
    last = lineage[-1]
    w = draw.weights(last)
    new = last("succ")(w)
    equal("the predecessor is not the model itself", lm.pred(new) is last, True)
    return new, lm.succ(last, w)


@law("pred(pred(... succ(succ(m, v), w))) is m", Level.TERM)
def a_lineage_goes_back_to_its_first_version(draw: Draw):
    lineage = draw(versions(draw.subject.models), "versions")
    kept = [tensors(m) for m in lineage]
    at = lineage[-1]
    for number in reversed(range(len(lineage))):
        equal(f"version {number} is not the one that was made", at is lineage[number], True)
        equal(f"version {number} has changed", tensors(at), kept[number])
        at = lm.pred(at) or at
    equal("the first has a predecessor", lm.pred(lineage[0]), None)


@law("succ(m, w)(x) traces and compiles nothing, after m(x)", Level.PROGRAM, Tier.XLA)
def a_successor_compiles_nothing(draw: Draw):
    m = weighted(draw)
    x = draw.input(m)
    new = lm.succ(m, draw.weights(m))
    jax.block_until_ready(m(x))
    with traced() as seen:
        jax.block_until_ready(new(x))
    equal("it was traced or compiled again", seen, [])


@law("compile(succ(m, w)) traces and compiles nothing, after compile(m)", Level.PROGRAM, Tier.XLA)
def a_successor_is_deployed_without_compiling(draw: Draw):
    m = weighted(draw)
    sizes: Any = dict.fromkeys(names(m.require_input()), 2)
    new = lm.succ(m, draw.weights(m))
    rolled = draw(booleans(), "rolled")
    lm.compile(m, roll=rolled, **sizes)
    with traced() as seen:
        lm.compile(new, roll=rolled, **sizes)
    equal("it was traced or compiled again", seen, [])


def read(model: Model, graph: Graph) -> Iterator[str]:
    """The digests of the tensors that a program reads, in order of use."""
    bound = [model.environment[slot] for slot in graph.slots]
    for node in graph.nodes:
        own = [bound[place] for place in node.slots]
        if isinstance(node.op, Function):
            used = node.op.digest(own[0].type if own else (), node.type).order
            yield from (own[0].digests[i] for i in used)
        for body in node.bodies:
            yield from read(model, body)


def _host(array: Any) -> Any:
    return jax.device_get(array)


VERSIONS = Suite(
    "versions",
    (
        the_predecessor_of_the_successor_is_the_model,
        a_successor_has_the_program_of_its_predecessor,
        a_successor_has_the_type_of_its_predecessor,
        a_successor_has_the_weights_given,
        the_same_weights_are_the_same_address,
        other_weights_are_another_address,
        a_successor_leaves_its_predecessor_as_it_was,
        a_model_answers_its_messages,
        a_lineage_goes_back_to_its_first_version,
        a_successor_compiles_nothing,
        a_successor_is_deployed_without_compiling,
    ),
)
