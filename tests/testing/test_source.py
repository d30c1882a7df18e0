"""What is written of a model makes it again."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from parts import dense_function

import lamda as lm
from lamda.testing import parts, strategies
from lamda.testing.source import expression, source

MANY = settings(max_examples=100, database=None, suppress_health_check=list(HealthCheck))


def made(text: str) -> lm.Model:
    scope: dict = {}
    exec(text, scope)
    return scope["model"]


@MANY
@given(strategies.models())
def test_it_makes_the_model_again(model):
    again = made(source(model))
    assert again.address == model.address
    assert again.input == model.input
    assert again.program == model.program  # the ties are the same
    imports = [line for line in source(model).splitlines() if line.startswith(("import", "from"))]
    one = made("\n".join([*imports, "import jax", f"model = {expression(model)}"]))
    assert one.address == model.address


@settings(max_examples=10, database=None, suppress_health_check=list(HealthCheck))
@given(strategies.terms())
def test_open_terms_are_made_again(term):
    key = jax.random.key(3)
    assert made(source(term)).init(key).address == term.init(key).address


def test_it_reads_as_one_would_write_it():
    f = lm.lift(parts.scale, jnp.float32(0.5), input="float32[b]")
    model = lm.residual(f) >> lm.freeze(f) >> lm.lift(jnp.tanh)
    assert source(model) == "\n".join(
        (
            "import jax.numpy as jnp",
            "import lamda as lm",
            "from lamda.testing import parts",
            "",
            "scale = lm.lift(parts.scale, jnp.array(0.5, 'float32'), input='float32[b]')",
            "scale1 = lm.freeze(scale)",
            "model = lm.residual(scale) >> scale1 >> lm.lift(jnp.tanh)",
        )
    )
    assert made(source(model)).program == model.program


def test_functions_of_any_module_are_imported():
    weights = {"kernel": jnp.eye(2), "bias": jnp.full(2, jnp.inf)}
    model = lm.lift(dense_function, weights, input="float32[b, 2]", name="f")
    assert "import parts\n" in source(model)
    assert made(source(model)).address == model.address


def test_what_no_text_makes_again_is_left_out():
    model = lm.lift(lambda x: x + 1, input="float32[b]")
    assert "f_function = ...  # made at " in source(model)


def test_towers_of_shared_parts_are_written_once():
    tower = lm.lift(parts.double, input="float32[]")
    for _ in range(40):
        tower = lm.add(tower, tower)
    assert made(source(tower)).address == tower.address


def test_parts_that_declare_more_than_they_are_given():
    two = lm.identity.init(jax.random.key(0), "float32[2]")
    each = lm.vmap(lm.lift(parts.double, input="float32[]"))
    model = lm.add(lm.const(jnp.ones(2)), two >> each)
    with pytest.raises(lm.MismatchError):
        lm.add(lm.const(jnp.ones(2)), each)
    scope: dict = {}
    exec(source(model), scope)
    assert repr(scope["model"]) == repr(model) and scope["model"].address == model.address
    assert "lm.identity.init" in source(model)
