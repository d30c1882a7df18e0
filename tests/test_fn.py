"""Lambda abstraction: laws as addresses, values, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jaxtyping import Float
from parts import dense, rows

import lamda as lm

f, g, h = dense(4, 4, 0, "f"), dense(4, 4, 1, "g"), dense(4, 4, 2, "h")
two = lm.lift(lambda xy: xy[0] * xy[1], input=("float32[b, 4]", "float32[b, 4]"), name="two")
relu = lm.lift(jax.nn.relu, name="relu")
wide = {"input": "float32[b, 4]"}
x = rows(3, 4)


def block(x):
    a = x + f(x)
    return a + g(a)


def inner(y):
    return g(y) + y


def flat(x):
    a, b = g(x), h(x)
    return {"p": (a, b), "q": two((a, b))}


TERMS = {
    "composition": (lm.fn(lambda x: g(f(x))), f >> g),
    "of untyped": (lm.fn(lambda x: f(relu(x))), relu >> f),
    "branch": (lm.fn(lambda x: (f(x), g(x))), f & g),
    "named branch": (lm.fn(lambda x: {"a": f(x), "b": g(x)}), lm.branch(a=f, b=g)),
    "let": (lm.fn(lambda x: (lambda y: (g(y), h(y)))(f(x))), f >> (g & h)),
    "several arguments": (lm.fn(lambda x, y: (f(x), g(y))), f @ g),
    "picks": (lm.fn(lambda x: (f(x[0]), g(x[1]))), f @ g),
    "names": (lm.fn(lambda *, a, b: {"a": f(a), "b": g(b)}), lm.parallel(a=f, b=g)),
    "swap": (lm.fn(lambda x, y: (y, x)), lm.swap),
    "identity": (lm.fn(lambda x: x), lm.identity),
    "identity of pairs": (lm.fn(lambda x, y: (x, y)), lm.identity),
    "all arguments": (lm.fn(lambda x, y: two((x, y))), two),
    "a default": (lm.fn(lambda x, part=f: g(part(x))), f >> g),
}  # fmt: skip
SAME = {
    "alpha": (lm.fn(lambda x: (f(x), x), **wide), lm.fn(lambda any: (f(any), any), **wide)),
    "alpha, with names of parts": (
        lm.fn(lambda f_, f: (g(f_), g(f))), lm.fn(lambda x, y: (g(x), g(y))),
    ),
    "beta": (lm.fn(lambda x: lm.fn(inner)(f(x))), lm.fn(lambda x: inner(f(x)))),
    "eta": (lm.fn(lambda x: lm.fn(inner)(x)), lm.fn(inner)),
    "sharing": (lm.fn(lambda x: (g(f(x)), h(f(x)))), f >> (g & h)),
    "projection": (lm.fn(lambda x: (f(x), g(x))[1]), g),
    "built and taken apart": (lm.fn(lambda x: two((lambda p: (p[0], p[1]))((f & g)(x)))),
                              (f & g) >> two),
    "discarding": (lm.fn(lambda x: [f(x), g(x)][0]), f),
    "residual": (lm.fn(block), lm.residual(f) >> lm.residual(g)),
    "a sum": (lm.fn(lambda x: f(x) + g(x)), lm.add(f, g)),
    "a product": (lm.fn(lambda x: f(x) * g(x)), lm.multiply(f, g)),
    "a number": (lm.fn(lambda x: x * 2 + 1.5, **wide),
                 lm.lift(lambda x: x * 2, **wide) >> lm.lift(lambda x: x + 1.5)),
    "a number before": (lm.fn(lambda x: 2 - x, **wide), lm.lift(lambda x: 2 - x, **wide)),
    "minus": (lm.fn(lambda x: -f(x)), f >> lm.lift(lambda x: -x)),
    "a constant": (lm.fn(lambda x: (f(x), jnp.ones(3))), f & lm.const(jnp.ones(3))),
    "one function, two ways": (lm.fn(lambda x: (x - f(x)) / x), lm.fn(
        lambda y: (lambda d: d / y)(y - f(y)))),
}  # fmt: skip


@pytest.mark.parametrize("law", TERMS)
def test_simple_functions_are_simple_terms(law):
    made, said = TERMS[law]
    assert made.term == said.term
    assert (made.input, made.output) == (said.input, said.output)


@pytest.mark.parametrize("law", SAME)
def test_laws_hold_as_addresses(law):
    made, said = SAME[law]
    assert made.address == said.address


def test_eta_is_the_model_itself():
    assert lm.fn(lambda x: f(x)) is f
    assert lm.fn(lambda x, y: two((x, y))) is two


def test_other_functions_have_other_addresses():
    made = [
        lambda x: x - f(x), lambda x: f(x) - x, lambda x: x * 2 - f(x), lambda x: x * 3 - f(x),
        lambda x: 2 / f(x), lambda x: f(x) / 2, lambda x: f(x) + 0.0, lambda x: f(x) + -0.0,
        lambda x: f(x) + jnp.float32(1), lambda x: f(x) + jnp.float32(2),
    ]  # fmt: skip
    assert len({lm.fn(each).address for each in made}) == len(made)


def test_values_are_those_of_the_function():
    table = np.arange(4, dtype=np.float32)

    def program(x, y):
        a = f(x) @ jnp.ones((4, 4))
        b = table - g(a) / 2
        return {"a": [a, -b], "b": 3 * h(b) + y, "y": y}

    y = jnp.arange(4.0)
    model = lm.fn(program, input=("float32[b, 4]", "float32[4]"))
    got, wanted = model((x, y)), program(x, y)
    np.testing.assert_allclose(got["a"][1], wanted["a"][1], rtol=1e-5)
    np.testing.assert_allclose(got["b"], wanted["b"], rtol=1e-5)
    assert lm.types.show(model.output) == (
        "{a: (float32[b, 4], float32[b, 4]), b: float32[b, 4], y: float32[4]}"
    )


def operations(model):
    return [node.op.name for node in model.program.nodes]


def test_a_value_used_twice_is_applied_once():
    assert operations(lm.fn(block)) == ["f", "add", "g", "add"]
    assert operations(lm.fn(lambda x: (lambda y: two((y, y)))(f(x)))) == ["f", "two"]


def test_what_is_not_used_is_discarded():
    def wasteful(x):
        g(x)
        return f(x)

    assert lm.fn(wasteful) is f
    model = lm.fn(lambda x, y: f(x), input=("float32[b, 4]", "int32[]"))
    assert lm.types.show(model.input) == "(float32[b, 4], int32[])"
    np.testing.assert_array_equal(model((x, jnp.int32(0))), f(x))


def test_values_that_wait_are_called_by_the_parts_that_gave_them():
    def waiting(x):
        a = f(x)
        b = g(a)
        return two((a, b)) + two((b, x))

    model = lm.fn(waiting)
    assert str(model).startswith("branch(input=identity, f=f) >> branch(input=pick('input'), f=")
    assert [path for path, *_ in model.tensors() if path[-1] == "kernel"] == [
        ("branch", "f", "kernel"), ("branch_1", "g", "g", "kernel"),
    ]  # fmt: skip
    moved = model.replace_weights(jax.tree.map(lambda w: w + 1, model.weights))
    assert moved.address != model.address


def test_the_term_is_as_long_as_the_function():
    def deep(x):
        for _ in range(300):
            x = x + f(x) * 2
        return x

    model = lm.fn(deep)
    assert len(str(model)) < 300 * 60
    assert len(model.program.nodes) == 900


def test_many_values_that_are_used_once_nest_nothing():
    def deep(x):
        for _ in range(2000):
            x = relu(x)
        return x

    assert len(lm.fn(deep).term.parts) == 2000


@pytest.mark.parametrize("seed", range(40))
def test_built_terms_mean_what_the_steps_say(seed):
    """Random steps, against their meaning over expressions."""
    from lamda.function import Function
    from lamda.steps import At, Step, build
    from lamda.term import Lift, interpret

    random = np.random.default_rng(seed)

    def tree(count, depth=0):
        kind = random.integers(4) if depth < 2 else 0
        if kind < 2:
            return At(int(random.integers(-1, count)), tuple(random.choice(["p", "q"], kind)))
        parts = [tree(count, depth + 1) for _ in range(random.integers(0, 3))]
        return tuple(parts) if kind == 2 else {str(i): p for i, p in enumerate(parts)}

    class Word(str):
        def __getitem__(self, key):
            return Word(f"{self}.{key}")

    def meaning(at, values):
        if isinstance(at, tuple | dict):
            if isinstance(at, dict):
                return {k: meaning(v, values) for k, v in at.items()}
            return tuple(meaning(v, values) for v in at)
        value = values[at.step + 1]
        for key in at.path:
            value = value[key]
        return value

    steps, values = [], [Word("x")]
    for number in range(random.integers(1, 8)):
        function = Function(lambda w, x: x, key=number, name=f"f{number % 3}", where="")
        steps.append(Step(Lift(function), tree(number)))
        values.append(Word(f"{number}({meaning(steps[-1].argument, values)})"))
    result = tree(len(steps))
    term = build(steps, result)
    got = interpret(term, lambda leaf, x: Word(f"{leaf.function.key}({x})"), Word("x"))
    assert got == meaning(result, values)


def test_the_type_is_unified_over_all_uses():
    b8 = dense(4, 4, 3, "b8", b="8")
    assert lm.types.show(lm.fn(lambda x: (f(x), b8(x))).input) == "float32[8, 4]"
    assert (
        lm.types.show(lm.fn(lambda x, y: two((f(x), y))).input) == "(float32[b, 4], float32[b, 4])"
    )
    assert lm.types.show(lm.fn(lambda x, y: f(x) + g(y)).input) == "(float32[b, 4], float32[b, 4])"
    assert lm.fn(lambda x: relu(x) * 2).input is None
    assert lm.fn(lambda x, y: f(x) + relu(y)).input is None


def test_annotations_say_the_type():
    def scaled(x: Float[Array, "b 4"], y: Float[Array, ""]):
        return x * y

    model = lm.fn(scaled)
    assert lm.types.show(model.input) == "(float32[b, 4], float32[])"
    assert lm.types.show(model.output) == "float32[b, 4]"


def test_it_is_a_decorator_with_and_without_a_type():
    @lm.fn
    def one(x):
        return g(f(x))

    @lm.fn(input="float32[8, 4]")
    def other(x):
        return g(f(x))

    assert one.term == other.term
    assert lm.types.show(other.output) == "float32[8, 4]"


def test_open_models_are_applied_open():
    import flax.linen as nn

    model = lm.fn(lambda x: f(x) + lm.lift(nn.Dense(4), name="new")(x))
    closed = model.init(jax.random.key(0))
    assert model.open and not closed.open
    assert closed(x).shape == (3, 4)


def test_constants_are_not_trained():
    model = lm.fn(lambda x: f(x) * np.arange(4, dtype=np.float32))
    assert [w.shape for w in jax.tree.leaves(model)] == [(4,), (4, 4)]


def test_it_is_kept_in_a_store(tmp_path):
    model = lm.fn(block)
    store = lm.Store(tmp_path / "store")
    store.put(model, ref="block")
    assert store.get("block").address == model.address


leaked = []


def leaking(x):
    leaked.append(x)
    return f(x)


def closing(x):
    return lm.fn(lambda y: f(y) + x)(g(x))


def deciding(x):
    return f(x) if x else g(x)


def unpacking(x):
    a, b = x
    return f(a), f(b)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (deciding, "deciding decides, compares or loops on a symbol, whose value is not known"),
        (unpacking, "Choose with lm.cond or lm.switch, loop with lm.scan or lm.iterate"),
        (lambda x: f(x) == 1, "the lambda decides, compares or loops on a symbol"),
        (lambda x: 1 if f(x) > 0 else 2, "compare inside of a lifted function"),
        (lambda x: f in x, "decides, compares or loops"),
        (lambda x: jnp.sin(x), "Lift the function first: lm.lift(jnp.sin)(x) for jnp.sin(x)."),
        (lambda x: np.sin(f(x)), "the lambda computes with a symbol: "),
        (lambda x: np.asarray(f(x)) + 1, "the lambda computes with a symbol: "),
        (lambda x: float(x), "the lambda computes with a symbol: "),
        (lambda x: len(x), "the lambda computes with a symbol: "),
        (lambda x: x**2, "Only models, picking, + - * / @ and unary - work on symbols."),
        (lambda x: f(x) + "a", "the lambda computes with a symbol: "),
        (lambda x: f(x)[:, 0], "the lambda picks (slice(None, None, None), 0) from a symbol"),
        (lambda x: f, "the lambda uses <f: float32[b, 4] -> float32[b, 4]>, which is not built"),
        (lambda x: None, "the lambda uses None, which is not built from symbols or arrays"),
        (lambda x: f((x, "a")), "the lambda uses 'a', which is not built from symbols"),
        (lambda x: {1: f(x)}, "the lambda uses {1: <a symbol of the lambda>}, which is not built"),
        (closing, "a symbol of closing is used inside of the lambda, which is a model of its own"),
        (lambda x: (lm.fn(leaking)(x), f(leaked[-1])), "a symbol of leaking is used after leaking"),
        (lambda x, y: f(x), "the lambda does not read y, so nothing says its type."),
        (lambda: f, "the lambda may have one parameter, or several by position"),
        (lambda *x: f, "the lambda may have one parameter, or several by position"),
        (lambda x, *, y: f, "the lambda may have one parameter, or several by position"),
        (f, "fn makes a model of a Python function that applies models, and got <f: "),
        (3, "fn makes a model of a Python function that applies models, and got 3"),
    ],
)
def test_what_is_refused(function, message):
    with pytest.raises(lm.SpecError) as error:
        lm.fn(function)
    assert message in str(error.value)


def test_a_leaked_symbol_is_refused():
    lm.fn(leaking)
    with pytest.raises(lm.SpecError, match="a symbol of leaking is used after leaking was made"):
        f(leaked[-1])


def test_what_does_not_fit_is_refused_where_it_is_applied():
    tail = dense(5, 2, 0, "tail")
    with pytest.raises(lm.MismatchError) as error:
        lm.fn(lambda x: tail(f(relu(x))))
    assert str(error.value).startswith("f does not compose with tail:\n  f gives float32[b, 4]\n")
    with pytest.raises(lm.MismatchError, match="f and tail do not branch from one input"):
        lm.fn(lambda x: (f(x), tail(x)))


def test_dtypes_are_not_promoted():
    whole = lm.lift(lambda x: x.astype("int32"), name="whole")
    with pytest.raises(lm.MismatchError, match="add does not run on "):
        lm.fn(lambda x: f(x) + whole(x))
    with pytest.raises(lm.MismatchError, match="multiply does not run on int32"):
        lm.fn(lambda x: whole(f(x)) * 0.5)


def test_other_errors_pass():
    with pytest.raises(TypeError, match="^wrong$"):
        lm.fn(lambda x: (_ for _ in ()).throw(TypeError("wrong")))
