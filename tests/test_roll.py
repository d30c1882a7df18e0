"""Rolling: a run of equal blocks is one scanned body, and nothing else changes."""

import hashlib
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm
from lamda import evaluate
from lamda.compile import program
from lamda.roll import Slotted, roll, stack
from lamda.rolled import Rolled

ULPS = 16 * np.finfo(np.float32).eps  # of numbers of size 1, between two orders of fused operations
COUNT = 6

tanh = lm.lift(jnp.tanh)
add = lm.lift(lambda pair: pair[0] + pair[1], name="add")
norm = lm.lift(lambda x: x / (1 + jnp.abs(x).max()), input="float32[b, 4]", name="norm")


def block(seed, width=4):
    """``x + dense(tanh(dense(norm(x))))``: five parts."""
    inner = norm >> dense(width, width, 2 * seed, "up") >> tanh >> dense(width, width, 2 * seed + 1)
    return lm.branch(lm.identity, inner) >> add


def masked(seed):
    """``(h, mask) -> (h + mask * dense(h), mask)``: the mask is passed through."""
    mixed = lm.lift(
        lambda w, pair: pair[0] + pair[1] * jnp.tanh(pair[0] @ w),
        dense(4, 4, seed).weights["kernel"],
        input=("float32[b, 4]", "float32[b, 4]"),
        name="mixed",
    )
    return lm.branch(mixed, lm.pick(1))


tied = dense(4, 4, 50, "tied")
embed, head = dense(3, 4, 70, "embed"), dense(4, 2, 71, "head")
x3, x4 = rows(3, 3), rows(3, 4)

MODELS = {
    "plain parts": (lm.compose(*(dense(4, 4, i) for i in range(COUNT))), x4),
    "residual blocks": (lm.compose(*map(block, range(COUNT))), x4),
    "a mask passed through": (lm.compose(*map(masked, range(COUNT))), (x4, x4 * 2)),
    "between others": (lm.compose(embed, *map(block, range(COUNT)), head), x3),
    "a tied part": (lm.compose(*(block(i) >> tied for i in range(COUNT))), x4),
    "frozen blocks": (lm.freeze(lm.compose(*map(block, range(COUNT)))) >> head, x4),
}  # fmt: skip


def rolled(model, at_least=4):
    """The rolled graph, and the groups of slots of its weights."""
    bound = [model.environment[s] for s in model.program.slots]
    kinds = [
        Slotted(s.frozen, w.structure, tuple(t.type for t in w.tensors))
        for s, w in zip(model.program.slots, bound, strict=True)
    ]
    return roll(model.program, kinds, at_least)


def runs(model, at_least=4):
    """How many blocks each run has."""
    graph, _ = rolled(model, at_least)
    return [node.op.count for node in graph.nodes if isinstance(node.op, Rolled)]


def value(model, x):
    """The value by the rolled program."""
    graph, groups = rolled(model)
    weights = [model.environment[slot].arrays for slot in model.program.slots]
    return evaluate.run(graph, stack(groups, weights), x)


def text(model):
    """The program as it is compiled."""
    code = program.stablehlo(program.of(model).at({"b": 2}))
    return hashlib.sha256(code).hexdigest()


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=ULPS, atol=ULPS)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_equal_blocks_is_one_node(name):
    assert runs(MODELS[name][0]) == [COUNT]


@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_the_blocks_do(name):
    model, x = MODELS[name]
    jax.tree.map(close, jax.jit(value)(model, x), model(x))


@pytest.mark.parametrize("name", ["residual blocks", "a mask passed through", "a tied part"])
def test_gradients_are_those_of_the_blocks(name):
    model, x = MODELS[name]

    def loss(run, m, x):
        return sum(leaf.mean() for leaf in jax.tree.leaves(run(m, x)))

    given = jax.jit(jax.grad(lambda m: loss(value, m, x)))(model)
    wanted = jax.jit(jax.grad(lambda m: loss(lambda m, x: m(x), m, x)))(model)
    jax.tree.map(close, given.weights, wanted.weights)


def test_fewer_blocks_are_left_as_they_are():
    model = lm.compose(*map(block, range(3)))
    assert runs(model) == []
    assert runs(model, at_least=2) == [3]
    assert len(program.of(model).graph.nodes) == len(model.program.nodes)
    assert len(program.of(model, roll=True).graph.nodes) == 1


def test_blocks_of_other_types_are_not_rolled():
    widths = [dense(4 + i, 5 + i, i) for i in range(COUNT)]
    assert runs(lm.compose(*widths)) == []


def test_frozen_and_trained_blocks_are_two_runs():
    blocks = list(map(block, range(8)))
    model = lm.freeze(lm.compose(*blocks[:4])) >> lm.compose(*blocks[4:])
    assert runs(model) == [4, 4]
    arguments = program.of(model, roll=True).arguments
    assert {(len(a.tensors), a.trained) for a in arguments} == {(4, True), (4, False)}


def test_a_result_that_is_used_later_ends_the_run():
    first, rest = lm.compose(*map(block, range(4))), lm.compose(*map(block, range(4, 8)))
    model = first >> lm.branch(lm.identity, rest)
    jax.tree.map(close, value(model, x4), model(x4))
    assert runs(model) == [4, 4]


def test_the_same_block_many_times_has_tied_weights():
    model = lm.compose(*[block(0)] * COUNT)
    assert runs(model) == [COUNT]
    assert all(len(a.tensors) == 1 for a in program.of(model).arguments)
    close(value(model, x4), model(x4))


def test_regrouping_changes_no_program_text():
    blocks = list(map(block, range(COUNT)))
    left = lm.compose(lm.compose(*blocks[:2]), lm.compose(*blocks[2:]))
    right = lm.compose(blocks[0], lm.identity, lm.compose(*blocks[1:5]), blocks[5])
    assert left.address == right.address
    assert text(left) == text(right)


def test_a_successor_has_the_same_program_text():
    model = MODELS["residual blocks"][0]
    assert text(model) == text(lm.succ(model, jax.tree.map(lambda w: w + 1, model.weights)))


def test_the_address_does_not_see_it():
    model = MODELS["residual blocks"][0]
    before = model.address
    lm.compile(model, batch=2)
    assert model.derive(model.term, model.environment).address == before


def test_handlers_answer_as_the_model_does():
    model, x = MODELS["between others"]
    for choice in (None, True, False):
        close(lm.compile(model, batch=3, roll=choice)(x), model(x))


def test_a_bundle_holds_the_weights_of_a_run_side_by_side(tmp_path):
    model, x = MODELS["between others"]
    lm.bundle(model, tmp_path, batch=3)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    shapes = [t["shape"] for t in manifest["weights"]["tensors"]]
    assert shapes.count([COUNT, 4, 4]) == 2
    code = (
        "import sys, json, serve; h = serve.load(sys.argv[1]);"
        "print(h(sys.stdin.read().encode()).decode())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, text=True,
                          input=json.dumps(x.tolist()), capture_output=True)  # fmt: skip
    close(np.float32(json.loads(done.stdout)), model(x))
    moved = lm.succ(model, jax.tree.map(lambda w: w * 0.5, model.weights))
    assert lm.bundle(moved, tmp_path, batch=3).compiled == 0
