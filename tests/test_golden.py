"""Golden addresses: an address never changes meaning.

The addresses of these models are committed in ``golden_addresses.json``. Where one changes, every
stored address of such a model is lost, so a change is a decision: raise ``VERSION`` in
``lamda/address.py``, say so under Changed in CHANGELOG.md, and write the file anew by
``pytest tests/test_golden.py --lamda-write-golden``. Weights are made of ``arange``, by no random
numbers.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import lamda as lm
from lamda.address import VERSION

FILE = Path(__file__).with_name("golden_addresses.json")


def numbers(*shape: int, dtype: str = "float32") -> jax.Array:
    """0, 1/8, 2/8, ..., which every dtype holds exactly."""
    count = 1
    for n in shape:
        count *= n
    return (jnp.arange(count, dtype="float32") / 8).reshape(shape).astype(dtype)


def linear(w, x):
    return x @ w["kernel"] + w["bias"][None]


def dense(inputs: int, outputs: int, name: str = "dense", dtype: str = "float32") -> lm.Model:
    weights = {
        "kernel": numbers(inputs, outputs, dtype=dtype),
        "bias": numbers(outputs, dtype=dtype),
    }
    return lm.lift(linear, weights, input=f"{dtype}[b, {inputs}]", name=name)


def function(f: Callable, input: object) -> lm.Model:
    return lm.lift(f, input=input)


def double(x):
    return x + x


def step(pair):
    return (pair[0] + pair[1], pair[0] * pair[1])


PAIR = ("float32[b]", "int32[n, 2]")
TREE = {"b": "float32[b, 3]", "a": (("int32[]", "bool[b]"), {"c": "float32[3]"})}

TERMS: dict[str, Callable[[], lm.Model]] = {
    "identity at a vector": lambda: function(lambda x: x, "float32[b]"),
    "identity at a tree": lambda: function(lambda x: x, TREE),
    "identity of pairs by picks": lambda: (
        function(lambda x: x, PAIR) >> lm.branch(lm.pick(0), lm.pick(1))
    ),
    "pick by number": lambda: function(lambda x: x, PAIR) >> lm.pick(1),
    "pick by name": lambda: function(lambda x: x, TREE) >> lm.pick("a", 1, "c"),
    "swap": lambda: function(lambda x: x, PAIR) >> lm.branch(lm.pick(1), lm.pick(0)),
    "double": lambda: function(double, "float32[b]"),
    "double of int32": lambda: function(double, "int32[b]"),
    "double of bfloat16": lambda: function(double, "bfloat16[b]"),
    "double of float16, fixed": lambda: function(double, "float16[3]"),
    "double of two dimensions": lambda: function(double, "float32[b, t]"),
    "double of one dimension twice": lambda: function(double, "float32[b, b]"),
    "a scalar": lambda: function(double, "float32[]"),
    "a constant in a function": lambda: function(lambda x: x * 3.0, "float32[b]"),
    "a constant": lambda: function(double, "float32[b]") >> lm.const(numbers(2)),
    "dense": lambda: dense(3, 2),
    "dense, frozen": lambda: lm.freeze(dense(3, 2)),
    "dense of bfloat16": lambda: dense(3, 2, dtype="bfloat16"),
    "two dense": lambda: dense(3, 4) >> dense(4, 2),
    "tied": lambda: (lambda f: f >> f)(dense(3, 3)),
    "three, with relu": lambda: (
        dense(3, 4, "a") >> lm.lift(jax.nn.relu) >> dense(4, 4, "b") >> lm.lift(jnp.tanh)
    ),
    "a branch": lambda: dense(3, 2) & lm.lift(jax.nn.relu),
    "a branch by names": lambda: lm.branch(z=dense(3, 2), a=lm.lift(jnp.sin)),
    "shared before a branch": lambda: dense(3, 4) >> lm.branch(dense(4, 2), dense(4, 1)),
    "weights in a tree": lambda: lm.lift(
        lambda w, x: x * w["a"][0] + w["a"][1]["c"] * w["b"],
        {"a": (numbers(2), {"c": numbers(1)}), "b": numbers(2, dtype="float32")},
        input="float32[2]",
    ),
    "weights of whole numbers": lambda: lm.lift(
        lambda w, x: w["rows"][w["ids"]][x], {"rows": numbers(4, 2), "ids": jnp.arange(4)},
        input="int32[b]",
    ),
    "iterate": lambda: lm.iterate(dense(3, 3), n=4),
    "until": lambda: lm.iterate(
        function(double, "float32[]"), until=function(lambda x: x > 100, "float32[]")
    ),
    "scan": lambda: lm.scan(function(step, ("float32[]", "float32[]"))),
    "vmap": lambda: lm.vmap(dense(3, 2)),
    "switch": lambda: lm.switch(
        function(lambda x: jnp.int32(1), "float32[b, 3]"), [dense(3, 2), dense(3, 2) >> dense(2, 2)]
    ),
    "a control in a control": lambda: lm.vmap(lm.iterate(dense(3, 3) >> dense(3, 3), n=2)),
}  # fmt: skip


def test_the_file_names_every_term():
    told = json.loads(FILE.read_text())
    assert told["version"] == VERSION, "the hashing version has changed: write the file anew"
    assert list(told["addresses"]) == list(TERMS)
    assert len(TERMS) >= 30


@pytest.mark.parametrize("name", TERMS)
def test_addresses_are_as_committed(name, golden_address):
    golden_address(name, TERMS[name]())


SAME = {("dense", "dense, frozen")}


def test_all_are_different_but_for_the_laws():
    seen: dict[str, str] = {}
    for name, address in json.loads(FILE.read_text())["addresses"].items():
        if address in seen:
            assert (seen[address], name) in SAME
        seen.setdefault(address, name)
