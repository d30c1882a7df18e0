"""Streams: what they answer, joined, is what the whole answers; and nothing is kept between."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import make
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import doubling, pack
from streams import iterating, lines, said, scanning

import lamda as lm
import serve
from lamda.compile import stream
from serve.body.forms import MSGPACK
from serve.errors import BundleError, RequestError
from serve.stream import talk
from serve.stream.frames import NDJSON

numbers = st.integers(-9, 9)
elements = st.lists(st.tuples(numbers, numbers).map(list), min_size=1, max_size=40)
SUM = scanning()


def cut(data: Any, places: list[int]) -> list[Any]:
    """The data in pieces, cut at these places, modulo its length; none is lost."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def whole(xs: list[Any], state: Any = (0, 0)) -> tuple[Any, list[float]]:
    after, ys = json.loads(SUM(json.dumps([state, xs]).encode()))
    return after, ys


# A scan


@given(elements, st.lists(st.integers(0, 99)), st.lists(st.integers(0, 9999)), st.booleans())
def test_the_answers_joined_are_the_answer_of_the_whole(
    xs: list[Any], parts: list[int], pieces: list[int], binary: bool
) -> None:
    values = [{"xs": part} for part in cut(xs, parts)]
    if binary:
        body = b"".join(map(pack, values))
        answers = list(SUM.stream(cut(body, pieces), MSGPACK, NDJSON))
    else:
        answers = list(SUM.stream(cut(lines(*values), pieces)))
    *ys, last = said(answers)
    assert len(ys) == len(values)
    after, wanted = whole(xs)
    assert [y for one in ys for y in one["ys"]] == wanted
    assert last == {"state": after}


@given(elements, elements)
def test_another_request_goes_on_from_the_state(first: list[Any], second: list[Any]) -> None:
    *ys, last = said(SUM.stream(lines({"xs": first})))
    *more, end = said(SUM.stream(lines({"state": last["state"]}, {"xs": second})))
    together = said(SUM.stream(lines({"xs": first}, {"xs": second})))
    assert [*ys, *more, end] == together


def test_each_answer_is_there_before_the_next_line_is_asked_for() -> None:
    asked: list[int] = []

    def body() -> Any:
        for number in range(3):
            asked.append(number)
            yield lines({"xs": [[number, 1]]})

    answers = SUM.stream(body())
    for number in range(3):
        assert said(next(answers)) == [{"ys": [sum(range(number + 1))]}]
        assert asked == list(range(number + 1))
    assert said(answers) == [{"state": [3, 3]}]


def test_nothing_is_padded_along_a_scan() -> None:
    handler = scanning()
    state, ys = json.loads(handler(json.dumps([[0, 0], [[1, 1]] * 11]).encode()))
    assert handler.engine.calls == [4, 4, 1, 1, 1]
    assert (state, ys) == ([11, 11], list(range(1, 12)))


def test_a_stream_of_nothing_gives_the_state_back() -> None:
    assert said(SUM.stream(b'{"state": [5, 7]}')) == [{"state": [5, 7]}]
    zero = said(SUM.stream(b'\n\r\n{"state": null, "xs": [[1, 2]]}\r\n\n'))
    assert zero == [{"ys": [2]}, {"state": [1, 2]}]


def test_msgpack_is_answered_in_msgpack() -> None:
    body = pack({"state": [0.0, 1.0]}) + pack({"xs": [[3, 4]]})
    unpacker = msgpack.Unpacker()
    unpacker.feed(b"".join(SUM.stream(body, MSGPACK)))
    ys, state = unpacker
    assert np.frombuffer(ys["ys"]["data"], "<f4").tolist() == [13]
    assert (state["state"]["shape"], list(state)) == ([2], ["state"])
    again = b"".join(SUM.stream(pack(state) + body[-8:], MSGPACK, NDJSON))
    assert said(again)[-1]["state"][0] == 2


FORM = '{"state": float32[2], "xs": float32[n, 2]}'
WRONG = [
    (b"", f"the request ends before it says anything: expected {FORM}"),
    (b"\n\n", f"the request ends before it says anything: expected {FORM}"),
    (b"{}", f"line 1: expected an object, {FORM}, got an object with no keys"),
    (b"\n[]", f"line 2: expected an object, {FORM}, got a list of 0"),
    (
        b'{"xs": [[1, 2]]}\n\n{"xs": [[1, 2]}\n',
        "line 3: the request is not JSON: Expecting ',' delimiter at line 1 column 15",
    ),
    (
        b'{"xs": [[1, 2]]}\n{"state": [1, 2]}\n',
        'line 2: expected an object, {"xs": float32[n, 2]}, got an object with \'state\'',
    ),
    (b'{"xs": [[1, 2]], "y": 1}', f"line 1: expected an object, {FORM}, got an object with "
     "'xs', 'y'"),
    (
        b'{"xs": [[1, 2], [3, "x"]]}',
        'line 1: input["xs"][1][1]: expected a number for float32[n, 2], got "x"',
    ),
    (
        b'{"state": [1]}',
        'line 1: input["state"]: expected a list of 2 for float32[2], got a list of 1',
    ),
    (
        b'{"xs": []}',
        'line 1: input["xs"]: expected n to be from 1 to 65536 in float32[n, 2], got 0',
    ),
    (b'{"xs": [[NaN, 1]]}', "line 1: NaN is not JSON: expected a finite number"),
    (
        b'{"xs": [[1, 2]]}\n{"xs": ' + b"[" * 1000,
        "line 2: expected at most 1000 bytes: send fewer elements at a time",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), WRONG)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_wrong_line_is_named(body: bytes, message: str, at_once: bool) -> None:
    handler = scanning(max_bytes=1000)
    with pytest.raises(RequestError) as caught:
        list(handler.stream(body if at_once else [bytes([byte]) for byte in body]))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (pack({"xs": [[1, 2]]}) + b"\xc1", "value 2: the request is not msgpack: FormatError"),
        (pack({"xs": [[1, 2]]}) + pack({"xs": [[1, 2]]})[:-1], "value 2: the request is not "
         "msgpack: Unpack failed: incomplete input"),
        (b"\x91" * 1500 + b"\xc0", "value 1: the request is nested too deeply"),
        (b"\xdd\xff\xff\xff\xff" + b"\x01" * 3000, "value 1: expected at most 2000 bytes: "
         "send fewer elements at a time"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [True, False])
def test_a_wrong_value_is_named(body: bytes, message: str, at_once: bool) -> None:
    handler = scanning(max_bytes=2000)
    with pytest.raises(RequestError) as caught:
        list(handler.stream(body if at_once else [bytes([byte]) for byte in body], MSGPACK))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("form", "start", "name"), [(NDJSON, b'{"xs": [', "line"), (MSGPACK, b"\xc6\xff" * 5, "value")]
)
def test_what_is_too_long_is_not_read_to_its_end(form: str, start: bytes, name: str) -> None:
    taken: list[bytes] = []

    def endless() -> Any:
        yield start
        while len(taken) < 100:
            taken.append(b"1" * 100)
            yield taken[-1]

    with pytest.raises(RequestError) as caught:
        list(scanning(max_bytes=1000).stream(endless(), form))
    text = f"{name} 1: expected at most 1000 bytes: send fewer elements at a time"
    assert (str(caught.value), caught.value.status, len(taken)) == (text, 413, 10)


@given(st.binary(max_size=60), st.sampled_from([NDJSON, MSGPACK]))
def test_whatever_comes_is_answered_or_refused(body: bytes, form: str) -> None:
    try:
        said(SUM.stream(body, form, NDJSON))
    except RequestError as error:
        assert 400 <= error.status < 500


def test_there_are_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "MOST", 3)
    answers = SUM.stream(lines(*[{"xs": [[1, 1]]}] * 4))
    assert [said(next(answers)) for _ in range(3)][-1] == [{"ys": [3]}]
    with pytest.raises(RequestError) as caught:
        next(answers)
    text = "line 4: expected at most 3 lines: go on from the state in another request"
    assert (str(caught.value), caught.value.status) == (text, 413)


def test_the_forms() -> None:
    for content_type in (None, NDJSON, "application/json", "application/x-www-form-urlencoded"):
        answered = SUM.talk(content_type)
        assert answered.content_type == NDJSON
    assert SUM.talk(NDJSON, MSGPACK).content_type == MSGPACK
    assert SUM.talk(MSGPACK, "*/*").content_type == MSGPACK
    with pytest.raises(RequestError) as caught:
        SUM.talk("text/plain")
    assert caught.value.status == 415
    with pytest.raises(RequestError) as caught:
        SUM.talk(NDJSON, "text/html")
    assert caught.value.status == 406


def test_a_model_that_does_not_stream_says_so() -> None:
    with pytest.raises(RequestError) as caught:
        list(doubling().stream(b"{}"))
    assert str(caught.value) == (
        "no such path: expected POST / or GET /, as this model does not stream its results"
    )
    assert caught.value.status == 404
    assert "stream" not in doubling().describe()


@pytest.mark.parametrize("handler", [SUM, iterating(n=3), iterating(done=lambda x: x > 9)])
def test_the_description_has_an_example_that_works(handler: Any) -> None:
    told = handler.describe()["stream"]
    answers = said(handler.stream(told["request"]["body"].encode()))
    assert len(answers) > 2
    assert told["request"]["path"] == "/stream"
    assert told["kind"] in ("scan", "iterate")


# An iteration


@given(st.integers(0, 100), st.integers(1, 200))
def test_the_last_state_is_the_answer_of_the_whole(start: int, most: int) -> None:
    handler = iterating(lambda x: x + 7, lambda x: x > most)
    *states, last = said(handler.stream(lines({"state": start})))
    assert last == {"done": True}
    found = [start, *(one["state"] for one in states)]
    assert found[-1] == json.loads(handler(str(start).encode()))
    assert found == list(range(start, int(found[-1]) + 1, 7))


def test_it_ends_after_n_and_goes_on() -> None:
    handler = iterating(n=4)
    assert said(handler.stream(b'{"state": 1}')) == [
        {"state": 2}, {"state": 4}, {"state": 8}, {"state": 16}, {"done": True},
    ]  # fmt: skip
    assert said(handler.stream(b'{"state": 8, "n": 2}')) == [
        {"state": 16}, {"state": 32}, {"done": False},
    ]  # fmt: skip
    assert said(handler.stream(b'{"state": 8, "n": 0}')) == [{"done": False}]


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    handler = iterating(done=lambda x: x > 1e30)
    answers = handler.stream(b'{"state": 1}')
    assert said(next(answers)) == [{"state": 2}]
    assert handler.engine.calls == [2, 1, 2]  # the test, a step, the test


def test_what_never_ends_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.stream.iterate.MOST", 5)
    *_, last = found = said(iterating(done=lambda x: False).stream(b'{"state": 1}'))
    assert (len(found), last) == (6, {"done": False})


STATE = '{"state": float32[]}'
ONE_LINE = "expected the end of the request, which is one line with a state, got another line"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", f"the request ends before it says anything: expected {STATE}"),
        (b'{"n": 1}', 'line 1: expected an object, {"n": int32[], "state": float32[]}, got an '
         "object with 'n'"),
        (b'{"state": 1, "n": 5}', 'line 1: input["n"]: expected a whole number from 0 to 4, got 5'),
        (b'{"state": 1, "n": true}', 'line 1: input["n"]: expected a whole number from 0 to 4, '
         "got true"),
        (b'{"state": "1"}', 'line 1: input["state"]: expected a number for float32[], got "1"'),
        (b'{"state": 1}\n\n{"state": 1}', f"line 3: {ONE_LINE}"),
        (b'{"state": 1}\n{"state": 1}\n', f"line 2: {ONE_LINE}"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_before_anything_is_computed(body: bytes, message: str) -> None:
    handler = iterating(n=4)
    with pytest.raises(RequestError) as caught:
        list(handler.stream(body))
    assert str(caught.value) == message
    assert handler.engine.calls == []


# Real models


def cell(w: Any, given: Any) -> Any:
    state, x = given
    h = jnp.tanh(state["h"] @ w["u"] + x @ w["v"])
    return {"count": state["count"] + 1, "h": h}, h.sum(axis=-1)


def recurrent() -> lm.Model:
    rng = np.random.default_rng(0)
    weights = {"u": rng.normal(size=(3, 3)), "v": rng.normal(size=(2, 3))}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    state = {"count": "int32[]", "h": "float32[b, 3]"}
    return lm.lift(cell, weights, input=(state, "float32[b, 2]"), name="cell")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scan")
    report = lm.bundle(lm.scan(recurrent()), directory, b=2, n=(1, 4), padded="b")
    assert report.compiled == 2
    return directory


def test_a_bundle_of_a_scan_streams_to_the_bit(scanned: Path) -> None:
    handler = serve.load(scanned)
    xs = np.random.default_rng(1).normal(size=(11, 2, 2)).astype(np.float32)
    state = {"count": 0, "h": [[0, 0, 0]] * 2}
    after, ys = json.loads(handler(json.dumps([state, xs.tolist()]).encode()))
    parts = np.split(xs, [1, 2, 7])
    *answers, last = said(handler.stream(lines(*({"xs": p.tolist()} for p in parts))))
    assert after["count"] == last["state"]["count"] == 11
    # The programs for 1 and 4 elements may add in another order.
    found = [y for one in answers for y in one["ys"]]
    np.testing.assert_allclose(found, ys, rtol=1e-6, atol=1e-6)
    wanted = lm.scan(recurrent())(({"count": jnp.int32(0), "h": jnp.zeros((2, 3))}, xs))
    np.testing.assert_allclose(ys, wanted[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(after["h"], wanted[0]["h"], rtol=1e-6, atol=1e-6)
    handler.engine.close()


def test_a_compiled_scan_makes_as_many_steps_as_there_are_elements() -> None:
    """Padding to the next size made steps of its own: the state came out of four, not of three."""
    handler = lm.compile(lm.scan(recurrent()), b=2, n=4)
    state, ys = handler(({"count": jnp.int32(0), "h": jnp.zeros((2, 3))}, jnp.ones((3, 2, 2))))
    assert (state["count"], ys.shape) == (3, (3, 2))


def test_a_state_of_zeros_is_as_large_as_the_elements_ask_for(scanned: Path) -> None:
    handler = serve.load(scanned)
    one, last = said(handler.stream(lines({"xs": [[[1, 2]]]})))  # one row, by the program for two
    assert np.shape(last["state"]["h"]) == (1, 3)
    two, _ = said(handler.stream(lines({"xs": [[[1, 2], [5, 6]]]})))
    assert one["ys"][0] == two["ys"][0][:1]
    with pytest.raises(RequestError) as caught:
        list(handler.stream(lines({"xs": [[[1, 2]]]}, {"xs": [[[1, 2]] * 2]})))
    text = 'line 2: input["xs"]: expected b to be 1 in float32[n, b, 2], as in input["state"]'
    assert str(caught.value).startswith(text)
    handler.engine.close()


def test_a_successor_of_a_stream_compiles_nothing(tmp_path: Path) -> None:
    scale = lm.lift(lambda w, x: x * w, np.float32(2), input="float32[b]", name="scale")
    far = lm.lift(lambda w, x: x.max() > w, np.float32(50), name="far")
    model = lm.iterate(scale, until=far)
    lm.bundle(model, tmp_path, b=(1, 2))
    after = lm.succ(model, {"0": jnp.float32(3), "1": jnp.float32(9)})
    again = lm.bundle(after, tmp_path, b=(1, 2))
    assert again.compiled == 0
    handler = serve.load(tmp_path)
    *states, last = said(handler.stream(b'{"state": [1, 2]}'))
    assert [one["state"] for one in states] == [[3, 6], [9, 18]]
    assert states[-1]["state"] == json.loads(handler(b"[1, 2]"))
    assert last == {"done": True}
    with pytest.raises(RequestError, match="expected b to be one of 1, 2"):
        handler(b"[1, 2, 3]")
    handler.engine.close()


def test_a_scan_has_programs_for_one_element(tmp_path: Path) -> None:
    for asked, wanted in (({}, [1]), ({"n": 4}, [1, 4]), ({"n": (8, 2)}, [1, 2, 8])):
        lm.bundle(SCAN, tmp_path, targets=(), **asked)
        assert make.read(str(tmp_path))["sizes"] == {"n": wanted}
    with pytest.raises(lm.SpecError, match="0"):
        lm.bundle(SCAN, tmp_path, targets=(), n=0)
    mapped = lm.scan(lm.lift(lambda g: (g[0], g[1] * 2), input=((), "float32[3]")))
    lm.bundle(mapped, tmp_path, targets=(), batch=4)
    manifest = make.read(str(tmp_path))
    assert (manifest["batch"], manifest["sizes"]) == ("n", {"n": [1, 4]})
    handler = serve.load(tmp_path)
    body = json.dumps([[], [[1, 2, 3]] * 5]).encode()
    assert json.loads(handler(body)) == [[], [[2, 4, 6]] * 5]
    assert said(handler.stream(lines({"xs": [[1, 2, 3]] * 5}))) == [
        {"ys": [[2, 4, 6]] * 5},
        {"state": []},
    ]
    handler.engine.close()


def step(state: str, x: str) -> lm.Model:
    return lm.lift(lambda g: (g[0] + 1, g[1] * 2), input=(state, x), name="step")


PLUS = lm.lift(lambda x: x + 1, input="float32[b]", name="plus")
SCAN = lm.scan(step("float32[2]", "float32[3]"))
KINDS = {
    "scan": (SCAN, stream.Stream("n", None)),
    "in brackets": (lm.compose(lm.identity, SCAN, lm.identity), stream.Stream("n", None)),
    "frozen": (lm.freeze(SCAN), stream.Stream("n", None)),
    "whose state is named n": (
        lm.scan(step("float32[n]", "float32[3]")),
        stream.Stream("n1", None),
    ),
    "iterate": (lm.iterate(PLUS, n=5), stream.Stream(None, 5)),
    "until": (
        lm.iterate(PLUS, until=lm.lift(lambda x: x.min() > 3)),
        stream.Stream(None, None),
    ),
    "as long as its state": (
        lm.scan(lm.lift(lambda g: g)).init(jax.random.key(0), ("float32[m]", "float32[m, 3]")),
        None,
    ),
    "of a number": (
        lm.lift(lambda x: x, input=("float32[2]", "float32[4, 3]")) >> SCAN,
        None,
    ),
    "more than a scan": (SCAN >> lm.lift(lambda x: x), None),
    "half of a scan": (SCAN >> lm.pick(1), None),
    "no loop": (PLUS, None),
    "two loops": (lm.iterate(PLUS, n=5) >> lm.iterate(PLUS, n=5), None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_which_models_stream(kind: str) -> None:
    model, wanted = KINDS[kind]
    assert stream.find(model) == wanted


MANIFESTS = {
    "stream should be a stream: {scan} or {iterate}, found 3": {"stream": 3},
    "stream should be a stream: {scan} or {iterate}, found {'iterate': 1, 'scan': 'n'}": {
        "stream": {"scan": "n", "iterate": 1}
    },
    "stream.scan should be the axis of a scan, found 'b'": {"stream": {"scan": "b"}},
    "stream.scan should be the axis of a scan, found 'n'": {
        "stream": {"scan": "n"},
        "input": {"tuple": [{"array": ["float32", ["n"]]}, {"array": ["float32", ["n", "b"]]}]},
        "output": {"tuple": [{"array": ["float32", ["n"]]}, {"array": ["float32", ["n"]]}]},
    },
    "sizes.n should be sizes from 1 on, as it is scanned, found 2": {"sizes": {"b": [2], "n": [2]}},
    "stream.iterate should have the key 'done'": {"stream": {"iterate": {"n": 1, "step": []}}},
    "output should be the input type, as it is iterated": {
        "stream": {"iterate": {"n": 1, "step": [], "done": None}}
    },
}


@pytest.mark.parametrize("message", MANIFESTS)
def test_a_manifest_that_is_no_stream_is_refused(
    scanned: Path, tmp_path: Path, message: str
) -> None:
    manifest = make.read(str(scanned)) | MANIFESTS[message]
    programs = manifest["programs"]
    if "sizes" in MANIFESTS[message]:
        programs = [p | {"sizes": {"b": 2, "n": 2}} for p in programs[:1]]
    make.write(str(tmp_path), manifest | {"programs": programs})
    with pytest.raises(BundleError) as caught:
        serve.bundle.read(str(tmp_path))
    assert message in str(caught.value)


def test_the_programs_of_an_iteration_are_for_all_sizes(tmp_path: Path) -> None:
    lm.bundle(lm.iterate(PLUS, n=2), tmp_path, b=(1, 2))
    manifest = make.read(str(tmp_path))
    del manifest["stream"]["iterate"]["step"][0]
    make.write(str(tmp_path), manifest)
    with pytest.raises(BundleError, match="stream.iterate.step should be one program for each"):
        serve.load(tmp_path)


def test_what_does_not_stream_imports_nothing_for_it() -> None:
    script = """
import json, sys
import serve.handler, serve.http
before = [name for name in sys.modules if name.startswith("serve.stream")]
import serve.stream.talk, serve.stream.scan, serve.stream.iterate
print(json.dumps([before, list(sys.modules)]))
"""
    before, after = make.python(script, bare=True)
    assert before == []
    heavy = {"jax", "numpy", "lamda", "msgpack", "uvicorn", "asyncio", "typing"}
    assert heavy & set(after) == set()
