"""Handlers are pure functions of bytes: nothing that is asked changes what is answered.

The laws are checked of handlers whose engine is the reference meaning, so that what is around the
engine is checked and nothing compiled; :func:`handling` checks them of any other handler.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

import lamda as lm
from lamda.compile.handler import Handler as Compiled
from lamda.model import Model
from lamda.testing.draw import Draw
from lamda.testing.law import Law, Suite, law
from lamda.testing.level import Level, Tier, same
from lamda.testing.reference import reference
from lamda.testing.served import can_be_served, served, value_of
from lamda.testing.strategies.requests import Request, broken, requests, serving, valid
from lamda.testing.suites.batch import is_rowwise
from serve.batching import Batching
from serve.body.codec import decode
from serve.errors import RequestError
from serve.handler import Handler
from serve.http import respond

THREADS = 8


class Handled(NamedTuple):
    """A handler, and the model that it should answer as, where that is known."""

    handler: Handler
    model: Model | None

    @property
    def requests(self) -> st.SearchStrategy[Request]:
        """Requests to it."""
        return requests(self.handler, padded=self.padded)

    @property
    def padded(self) -> bool:
        """Whether sizes may be padded: where the model works row by row, as far as is known."""
        return self.model is None or is_rowwise(self.model)

    def answer(self, request: Request) -> tuple[int, bytes]:
        """The status and the body of its answer, as an HTTP server has them."""
        status, _, body = respond(self.handler, "POST", "/", request.headers, request.body)
        return status, body


Why = Callable[[Draw, Handled], str]
"""Decides a law of handlers: why it is broken, or nothing where it holds."""


def reference_answer(draw: Draw, handled: Handled) -> str:
    request = draw(valid(handled.handler, padded=handled.padded), "request")
    body, form = handled.handler.answer(request.body, request.content_type, request.accept)
    if handled.model is None:
        return ""
    expected = reference(handled.model, request.x)
    if b"null" in body:  # JSON has no number that is not finite
        finite = all(np.isfinite(np.asarray(a, np.float64)).all() for a in _leaves(expected))
        return "null stands for a finite number" if finite else ""
    given = decode(body, form, handled.handler.bundle.output)
    return same(Level.VALUE, value_of(given, handled.model.output), expected)


def broken_is_refused(draw: Draw, handled: Handled) -> str:
    every = draw(broken(handled.handler), "requests")
    return next(filter(None, (_not_refused(handled, request) for request in every)), "")


def _not_refused(handled: Handled, request: Request) -> str:
    """Why a broken request is not refused as it should be."""
    status, body = handled.answer(request)
    if not 400 <= status < 500:
        return f"{request.why}: the status is {status}, and the answer {body[:200]!r}."
    try:
        handled.handler(request.body, request.content_type, request.accept)
    except RequestError as error:
        text = str(error)
        said = any(word in text for word in SAID)
        fits = error.status == status and json.loads(body) == {"error": text}
        return "" if said and fits else f"{request.why}: {text!r} says not what was expected."
    return f"{request.why}: it was refused once, and answered then."


SAID = (
    "expected", "is not JSON", "is not msgpack", "is not UTF-8", "too deeply", "too many digits",
    "twice",
)  # fmt: skip
"""What says to a client what was expected of it."""


def order_changes_no_answer(draw: Draw, handled: Handled) -> str:
    asked = draw(st.lists(handled.requests, min_size=1, max_size=4), "requests")
    first = [handled.answer(request) for request in asked]
    order = draw(st.lists(st.sampled_from(range(len(asked))), min_size=1, max_size=8), "order")
    for i in order:
        if (again := handled.answer(asked[i])) != first[i]:
            return f"{asked[i].why}: answered {first[i]!r}, and then {again!r}."
    return ""


def concurrency_changes_no_answer(draw: Draw, handled: Handled) -> str:
    asked = draw(st.lists(handled.requests, min_size=1, max_size=4), "requests")
    first = [handled.answer(request) for request in asked]
    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(handled.answer, asked * THREADS))
    changed = [i for i, answer in enumerate(together) if answer != first[i % len(asked)]]
    return f"In {THREADS} threads {len(changed)} answers differ." if changed else ""


def requests_change_no_state(draw: Draw, handled: Handled) -> str:
    before = _state(handled.handler)
    for request in draw(st.lists(handled.requests, min_size=1, max_size=4), "requests"):
        handled.answer(request)
    after = _state(handled.handler)
    return "" if before == after else f"{before} has become {after}."


def it_says_who_it_is(draw: Draw, handled: Handled) -> str:
    handler, model = handled
    before = None if model is None else lm.pred(model)
    expected = (
        (handler.bundle.address, handler.bundle.pred)
        if model is None
        else (model.address, before and before.address)
    )
    said = handler("who"), handler("pred")
    if said != expected:
        return f"It says {said}, and is {expected}."
    try:
        return f"'succ' is answered with {handler('succ')!r}."
    except RequestError as error:
        return "" if "who" in str(error) else f"{error} names no message."


STATEMENTS: dict[Why, tuple[str, Level]] = {
    reference_answer: ("a valid request is answered with m(x), in every form", Level.VALUE),
    broken_is_refused: ("every broken request is a 4xx that says what was expected", Level.VALUE),
    order_changes_no_answer: ("order and repetition change no bit of an answer", Level.VALUE),
    concurrency_changes_no_answer: ("8 threads at once change no bit of an answer", Level.VALUE),
    requests_change_no_state: ("no request changes the handler or its bundle", Level.VALUE),
    it_says_who_it_is: ("who is the address of m, and pred that of its predecessor", Level.ADDRESS),
}


def _law(why: Why, of: Callable[[Draw], Handled], tier: Tier) -> Law:
    statement, level = STATEMENTS[why]

    def decide(draw: Draw) -> None:
        reason = why(draw, of(draw))
        made.require(not reason, reason)

    decide.__name__ = why.__name__
    made = law(statement, level, tier)(decide)
    return made


def _drawn(draw: Draw) -> Handled:
    model = draw.model()
    model = lm.succ(model, draw.weights(model)) if draw(st.booleans(), "successor") else model
    if not can_be_served(model):
        reject()
    return Handled(served(model), model)


HANDLER = Suite("handler", tuple(_law(why, _drawn, Tier.NUMPY) for why in STATEMENTS))


def handling(handler: Handler | Compiled, model: Model | None = None) -> Suite:
    """The same laws of one handler, of ``serve.load`` or ``lm.compile``, that is run as it is.

    With ``model``, its answers are compared with the reference meaning of that.
    """
    model = handler.model if isinstance(handler, Compiled) else model
    handled = Handled(serving(handler), model)
    laws = tuple(_law(why, lambda _: handled, Tier.XLA) for why in STATEMENTS)
    return Suite(f"handler of {handled.handler.bundle.name}", laws)


def _state(handler: Handler) -> str:
    """All that is known of a handler: what it says of itself, and what it holds."""
    batching = Batching(handler.bundle, handler.engine)
    held = {name: repr(getattr(batching, name)) for name in ("exact", "programs", "sizes")}
    own = {name: repr(getattr(handler, name, None)) for name in Handler.__slots__}
    bundle = {k: repr(v) for k, v in vars(handler.bundle).items()} if _open(handler.bundle) else {}
    return json.dumps([handler.describe(), held, own, bundle], default=repr)


def _open(value: Any) -> bool:
    return hasattr(value, "__dict__")


def _leaves(value: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(value)
