"""Closing: drawn weights."""

from typing import Any

import jax
import jax.numpy as jnp
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from lamda import check
from lamda import types as kinds
from lamda.model import Model
from lamda.tensor import Weights
from lamda.term import Lift, Token
from lamda.testing.strategies.types import arrays
from lamda.types import Type


def closed(model: Model) -> SearchStrategy[Model]:
    """The model with drawn weights for every open part; itself where it has none."""
    return _closed(model) if model.open else st.just(model)


def weights(model: Model) -> SearchStrategy[Any]:
    """Other weights for a model: a tree of arrays like ``model.weights``."""
    tree = model.weights
    return arrays(kinds.typeof(tree)).map(lambda drawn: _like(tree, drawn))


@st.composite
def _closed(draw: DrawFn, model: Model) -> Model:
    wanted = _missing(model)
    made = {token: Weights.of(_jax(draw(arrays(type)))) for token, type in wanted.items()}
    missing = [slot for slot in model.slots if slot not in model.environment]
    return model.bind({slot: made[slot.token] for slot in missing})


def _missing(model: Model) -> dict[Token, Type]:
    """The type of the weights of every open part."""
    found: dict[Token, Type] = {}

    def weights(lift: Lift, input: Type) -> Type:
        if lift.slot is None or lift.slot in model.environment:
            return model.weights_type(lift, input)
        ones = kinds.substitute(input, dict.fromkeys(kinds.names(input), 1))
        return found.setdefault(lift.slot.token, lift.function.weights(ones))

    check.infer(model.term, model.require_input(), weights)
    return found


def _jax(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def _like(tree: Any, drawn: Any) -> Any:
    """The drawn arrays in the tree that the weights have."""
    return jax.tree.unflatten(jax.tree.structure(tree), map(jnp.asarray, jax.tree.leaves(drawn)))
