"""Handlers and bundles: what is compiled answers as the model does."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parts import dense, rows

import lamda as lm
import serve
from lamda.compile import program, targets

f, g, h = dense(4, 8, 0, "f"), dense(8, 2, 1, "g"), dense(8, 3, 2, "h")
tanh = lm.lift(jnp.tanh)
model = lm.branch(a=lm.fine_tune_head(f >> tanh, g), b=lm.fine_tune_head(f >> tanh, h))
ULPS = 8 * np.finfo(np.float32).eps  # of numbers of size 1, between two builds of XLA


def moved(m):
    return lm.succ(m, jax.tree.map(lambda w: w + 1, m.weights))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundle")
    return lm.bundle(model, directory, name="pair", batch=(1, 4))


def served(directory, requests):
    """The answers of a fresh process, which must load neither jax nor lamda nor numpy."""
    code = (
        "import json, sys, serve\n"
        "handler = serve.load(sys.argv[1])\n"
        "print(json.dumps([json.loads(handler(r.encode())) for r in json.load(sys.stdin)]))\n"
        "print(handler.engine.way)\n"
        "assert not {'jax', 'lamda', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], check=True, text=True,
                          input=json.dumps([json.dumps(r) for r in requests]),
                          capture_output=True)  # fmt: skip
    answers, way = done.stdout.splitlines()
    return json.loads(answers), way


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_handler_answers_as_the_model_does(count):
    handler = lm.compile(model, batch=(1, 4))
    x = rows(count, 4)
    answer = handler(x)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=ULPS), answer, model(x)
    )
    body = json.loads(handler(json.dumps(x.tolist()).encode()))
    np.testing.assert_array_equal(np.float32(body["a"]), answer["a"])


def test_a_deployed_handler_answers_as_the_model_does(bundled):
    batches = [rows(n, 4, n) for n in (1, 3, 9)]
    answers, way = served(bundled.directory, [x.tolist() for x in batches])
    assert way == "executable"
    for x, answer in zip(batches, answers, strict=True):
        for name, value in model(x).items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=ULPS)


def test_a_successor_compiles_nothing_and_moves_its_weights_alone(tmp_path):
    first = lm.bundle(model, tmp_path, batch=(1, 4))
    files = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.name != "manifest.json"}
    second = lm.bundle(moved(model), tmp_path, batch=(1, 4))
    assert (first.compiled, second.compiled) == (2, 0)
    new = {p for p in tmp_path.rglob("*.*") if p.name != "manifest.json"} - set(files)
    assert [p.parent.name for p in new] == ["weights"]
    assert second.added == new.pop().stat().st_size < 64 * 4 + 4 * (8 * 2 + 2 + 8 * 3 + 3)
    assert {p: p.read_bytes() for p in files} == files
    (answer,), _ = served(tmp_path, [[[1, 0, 0, 0]]])
    np.testing.assert_allclose(answer["a"], moved(model)(jnp.eye(1, 4))["a"], rtol=1e-5)


def test_a_successor_has_the_same_program_text_in_any_process(tmp_path):
    code = (
        "import test_compile as t, hashlib;"
        "text = t.program.stablehlo(t.program.of(t.moved(t.model)).at({'b': 4}));"
        "print(hashlib.sha256(text).hexdigest())"
    )
    import hashlib

    here = hashlib.sha256(program.stablehlo(program.of(model).at({"b": 4}))).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                           cwd=__file__.rpartition("/")[0]).stdout.strip()  # fmt: skip
    assert there == here


def test_nothing_is_compiled_for_a_successor_in_this_process():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
    )
    x, model = rows(4, 4), dense(4, 5) >> tanh  # of a shape that no other test has
    model(x)
    lm.compile(model, batch=4)(x)
    assert len(compiled) >= 2
    new = moved(model)
    compiled.clear()
    new(x)
    lm.compile(new, batch=4)(x)
    assert compiled == []


def test_the_shared_part_is_in_the_program_once():
    text = jax.jit(lambda m, x: m(x)).lower(model, rows(4, 4)).as_text()
    assert text.count("stablehlo.tanh") == 1
    assert text.count("stablehlo.dot_general") == 3


def test_weights_are_arguments_and_no_constants():
    wide = dense(64, 64, 0)
    assert len(program.stablehlo(program.of(wide).at({"b": 1}))) < 64 * 64 * 4 / 4


def test_the_manifest_says_what_it_is(bundled):
    manifest = json.loads((bundled.directory / "manifest.json").read_text())
    assert manifest["address"] == model.address == bundled.address
    assert manifest["name"] == "pair"
    assert manifest["sizes"] == {"b": [1, 4]}
    assert manifest["batch"] == "b"
    assert manifest["example"] == [[0.0] * 4]
    assert manifest["pred"] is None


def test_several_dimensions_are_padded(tmp_path):
    def total(x):
        return (x["v"] * x["mask"]).sum(1)

    part = lm.lift(total, input={"v": "float32[b, t]", "mask": "float32[b, t]"})
    handler = lm.compile(part, batch=(1, 2), padded="t", t=(2, 8))
    v = rows(5, 3)
    np.testing.assert_allclose(handler({"v": v, "mask": jnp.ones((5, 3))}), v.sum(1), rtol=1e-5)
    report = lm.bundle(part, tmp_path, batch=(1, 2), padded="t", t=(2, 8))
    assert report.compiled == 4
    body = json.dumps({"v": v.tolist(), "mask": [[1] * 3] * 5}).encode()
    found = json.loads(serve.load(tmp_path)(body))
    np.testing.assert_allclose(found, v.sum(1), rtol=1e-5)


def test_a_mean_is_not_padded_unasked(tmp_path):
    mean = lm.lift(lambda x: x.mean(1), input="float32[b, t]", name="mean")
    handler = lm.compile(mean, batch=4, t=(2, 8))
    lm.bundle(mean, tmp_path, batch=4, t=(2, 8))
    assert "padded" not in json.loads((tmp_path / "manifest.json").read_bytes())
    for each in (handler, serve.load(tmp_path)):
        assert each(b"[[1, 3]]") == b"[2]"
        with pytest.raises(serve.RequestError, match="expected t to be one of 2, 8 in .* got 3"):
            each(b"[[1, 3, 2]]")
    with pytest.raises(lm.SpecError, match="mean has no dimension 'k'; its free dimensions are b"):
        lm.bundle(mean, tmp_path, t=2, padded=("t", "k"))


def test_a_model_without_weights(tmp_path):
    lm.bundle(lm.lift(jnp.tanh, input="float32[b]"), tmp_path, batch=2)
    answers, _ = served(tmp_path, [[0, 1, 2]])
    np.testing.assert_allclose(answers, [np.tanh([0, 1, 2])], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lm.compile(wide, b=2),
         "f has free dimensions: b, t. Say the sizes to compile for, as in t=128."),
        (lambda: lm.compile(f, t=2), "f has no dimension 't'; its free dimensions are b"),
        (lambda: lm.compile(f, batch=0), "sizes of b are whole numbers from 1, as in b=(1, 8, 32); "
         "got 0"),
        (lambda: lm.compile(f, batch=(1, 2.5)), "sizes of b are whole numbers from 1, as in "
         "b=(1, 8, 32); got (1, 2.5)"),
        (lambda: lm.compile(fixed, batch=2), "f has no batch dimension: the first axis of every "
         "input would have to be one name, and they are float32[2]. Leave out batch=, or name the "
         "sizes of its dimensions."),
        (lambda: lm.compile(f, target="abacus"), "target 'abacus' is not known; targets are cpu, "
         "cuda, rocm, tpu"),
        (lambda: lm.bundle(f, "/nowhere", targets=["abacus"]), "target 'abacus' is not known; "
         f"targets are {', '.join(targets.names())}"),
        (lambda: lm.compile(f, tokenizer=b"{}"), "tokenizer= needs an input of two leaves of "
         "integers [batch, length], called 'ids' and 'mask' (or one called 'ids'); f takes "
         "float32[b, 4]"),
    ],
)  # fmt: skip
def test_what_can_not_be_compiled(call, message):
    with pytest.raises(lm.SpecError) as error:
        call()
    assert str(error.value) == message


wide = lm.lift(lambda x: x, input="float32[b, t]", name="f")
fixed = lm.lift(lambda x: x, input="float32[2]", name="f")


def test_an_open_or_untyped_model_is_refused():
    with pytest.raises(lm.OpenError, match="the input type of tanh is not known"):
        lm.compile(tanh)
    import flax.linen as nn

    with pytest.raises(lm.OpenError, match="is open: its weights are not there yet"):
        lm.compile(f >> lm.lift(nn.Dense(2)))


def test_a_handler_refuses_arrays_of_another_type():
    with pytest.raises(lm.MismatchError, match="axis 1: 5 is not 4"):
        lm.compile(model, batch=4)(rows(3, 5))
