"""`handler(request bytes) -> answer bytes`: a bundle as a pure function.

The same request has the same answer, for ever: a handler holds no state, and any number of
threads may call it.
"""

from __future__ import annotations

import json

from serve import errors, settings
from serve.batching import Batching
from serve.body import codec
from serve.body.forms import JPEG, JSON, MSGPACK, NPY, OCTETS, PNG, TEXT, accepted, requested
from serve.deadline import limited
from serve.errors import RequestError
from serve.types import show
from serve.watch import Watch

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, overload

    from serve.arrays import Array
    from serve.stream.talk import Talk


MAX_BYTES = 16 << 20
MAX_SECONDS = 900.0


class Handler:
    """`handler(body)` is the answer to a request; `handler("who")` is the model's address.

    `bundle` is what serve.bundle reads, `engine(index, inputs)` runs its program with that
    index. A request of more than `max_bytes` is refused, and so is such a line of a stream; a
    request or a stream over HTTP ends after `max_seconds`. Left out, LAMDA_MAX_BYTES and
    LAMDA_MAX_SECONDS say it. `watch` counts what is answered over HTTP.
    """

    __slots__ = (
        "_picture", "_run", "_stream", "_tokenise", "answers", "bundle", "engine", "max_bytes",
        "max_seconds", "requests", "watch",
    )  # fmt: skip

    def __init__(
        self,
        bundle: Any,
        engine: Any,
        max_bytes: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.watch = Watch()
        self.max_bytes = max_bytes or settings.whole(settings.MAX_BYTES, MAX_BYTES)
        self.max_seconds = max_seconds or settings.seconds(settings.MAX_SECONDS, MAX_SECONDS)
        self._run = Batching(bundle, limited(engine)).run
        self._stream = None
        if getattr(bundle, "stream", None) is not None:
            from serve import stream

            self._stream = stream.of(bundle, engine)
            self._run = self._stream.run
        self._tokenise = None
        if bundle.text is not None:
            from serve.body.text import tokeniser

            data = bundle.content(bundle.text["tokenizer"])
            self._tokenise = tokeniser(data, bundle.text, bundle.input)
        self._picture = None
        if getattr(bundle, "image", None) is not None:
            from serve.body.image import reader

            self._picture = reader(bundle.image, bundle.input)
        npy = [[NPY] if "array" in of else [] for of in (bundle.input, bundle.output)]
        text, image = [TEXT] * bool(self._tokenise), [JPEG, PNG] * bool(self._picture)
        self.requests: list[str] = [JSON, MSGPACK, *npy[0], OCTETS, *text, *image]
        """The content types that a request may have."""
        self.answers: list[str] = [JSON, MSGPACK, *npy[1], OCTETS]
        """The content types that an answer may have."""

    if TYPE_CHECKING:

        @overload
        def __call__(self, body: str) -> str | None: ...

        @overload
        def __call__(
            self, body: bytes, content_type: str | None = JSON, accept: str | None = None
        ) -> bytes: ...

    def __call__(
        self, body: bytes | str, content_type: str | None = JSON, accept: str | None = None
    ) -> bytes | str | None:
        """The answer to a request, or to the messages "who", "pred" and "succ".

        Raises:
            RequestError: the request is not a value of the input type; `.status` says in what way.
        """
        if isinstance(body, str):
            return self._message(body)
        return self.answer(body, content_type, accept)[0]

    def answer(
        self, body: bytes, content_type: str | None = JSON, accept: str | None = None
    ) -> tuple[bytes, str]:
        """The answer and its content type.

        Raises:
            RequestError: as when called.
        """
        return self.compute(body, *self.forms(content_type, accept), content_type)

    def forms(self, content_type: str | None, accept: str | None) -> tuple[str, str]:
        """The form of a request, and that of the answer to it.

        Raises:
            RequestError: 415 or 406, there is no such form here.
        """
        form = requested(content_type, self.requests)
        if not accept and form in self.answers:
            return form, form
        return form, accepted(accept, self._preferred(form))

    def compute(
        self, body: bytes, form: str, wanted: str, content_type: str | None = None
    ) -> tuple[bytes, str]:
        """The answer in the form that is wanted, and its content type.

        Raises:
            RequestError: as when called.
        """
        arrays = self.run(self._leaves(body, form, content_type))
        if wanted == OCTETS:
            from serve.body import octets

            return octets.to_octets(arrays), octets.content_type(arrays, self.bundle.output)
        return codec.encode(arrays, wanted, self.bundle.output), wanted

    def stream(
        self,
        body: bytes | Iterable[bytes],
        content_type: str | None = None,
        accept: str | None = None,
    ) -> Iterator[bytes]:
        """The answers to the lines of a body, each as soon as its line is there.

        The body may come in pieces, cut anywhere. Joined, the answers are the whole answer
        (docs/bundle.md, "Streams").

        Raises:
            RequestError: the model does not stream, or a line is wrong; the message says which.
        """
        talk = self.talk(content_type, accept)
        for piece in (body,) if isinstance(body, bytes) else body:
            yield from talk.feed(piece)
        yield from talk.end()

    def talk(self, content_type: str | None = None, accept: str | None = None) -> Talk:
        """One stream, for what feeds it as its bytes come.

        Raises:
            RequestError: the model does not stream, or not in these forms.
        """
        if self._stream is None:
            raise RequestError(errors.NO_STREAM, 404)
        from serve.stream.talk import Talk

        return Talk(self._stream, content_type, accept, self.max_bytes)

    def run(self, leaves: list[Array]) -> list[Array]:
        """The leaves of the output for the leaves of the input, both in type order.

        Raises:
            RequestError: the shapes do not fit the type, each other or any program.
        """
        return self._run(leaves)

    def describe(self) -> dict[str, Any]:
        """What a stranger needs to use the model, as JSON values."""
        bundle, engine = self.bundle, self.engine
        body = json.dumps(bundle.example)
        return {
            "name": bundle.name,
            "address": bundle.address,
            "pred": bundle.pred,
            "input": show(bundle.input),
            "output": show(bundle.output),
            "types": {"input": bundle.input, "output": bundle.output},
            "batch": bundle.batch,
            "sizes": bundle.sizes,
            "example": bundle.example,
            "request": {"method": "POST", "path": "/", "content_type": JSON, "body": body},
            "content_types": {"request": self.requests, "answer": self.answers},
            "max_bytes": self.max_bytes,
            "runtime": {
                "way": getattr(engine, "way", None),
                "why": getattr(engine, "why", None),
                "notes": list(getattr(engine, "notes", ())),
            },
            **self._streaming(),
        }

    def _streaming(self) -> dict[str, Any]:
        """What a stranger needs to use the stream, where there is one."""
        if self._stream is None:
            return {}
        from serve.stream.talk import describe

        return {"stream": describe(self._stream) | {"max_seconds": self.max_seconds}}

    def _preferred(self, form: str) -> list[str]:
        """The forms of an answer, best first: that of the request, or the nearest to it."""
        first = form if form in self.answers else {NPY: MSGPACK}.get(form, JSON)
        return [first, *(other for other in self.answers if other != first)]

    def _leaves(self, body: bytes, form: str, content_type: str | None) -> list[Array]:
        if len(body) > self.max_bytes:
            text = f"expected at most {self.max_bytes} bytes, got {len(body)}: send fewer rows"
            raise RequestError(text, 413)
        if not body:
            example = json.dumps(self.bundle.example)
            example = example if len(example) <= 400 else example[:397] + "..."
            text = f"the request is empty: expected {show(self.bundle.input)}, such as {example}"
            raise RequestError(text)
        if form == OCTETS:
            from serve.body import octets
            from serve.body.forms import parameters

            return octets.from_octets(body, parameters(content_type), self.bundle.input)
        if self._picture is not None and form in (JPEG, PNG):
            from serve.body.image import FORMATS

            return self._picture([(body, FORMATS[form])])
        if form == TEXT:
            from serve.body.text import plain

            return self._spoken(plain(body), form)
        if form == NPY or (self._tokenise is None and self._picture is None):
            return codec.decode(body, form, self.bundle.input)
        return self._spoken(codec.parse(body, form), form)

    def _spoken(self, value: Any, form: str) -> list[Array]:
        """The leaves of a value, which may be texts or images in place of the tree."""
        if self._tokenise is not None:
            from serve.body.text import texts

            if (found := texts(value)) is not None:
                return self._tokenise(found)
        if self._picture is not None:
            from serve.body.image import images

            if (pictures := images(value)) is not None:
                return self._picture(pictures)
        return codec.flatten(value, form, self.bundle.input)

    def _message(self, message: str) -> str | None:
        if message == "who":
            return self.bundle.address
        if message == "pred":
            return self.bundle.pred
        if message == "succ":
            raise RequestError(errors.NO_SUCC, 404)
        raise RequestError('expected the message "who", "pred" or "succ", or a request as bytes')
