"""POST /stream: answers as they come, over ASGI.

The next piece of the body is asked for when all lines of the last one are answered, and the next
line is answered when the answers before it are on their way: a client that reads slowly is waited
for, and nothing piles up. A client that goes away ends the computation at the next answer.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from serve import errors
from serve.errors import RequestError
from serve.http.asgi import send_response
from serve.http.routes import failure, logged

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

    from serve.handler import Handler
    from serve.http.asgi import Receive, Send
    from serve.stream.talk import Talk

LINGER = 5.0  # seconds for the client to take the last words after an error


class Gone(Exception):
    """The client went away."""


async def respond(
    handler: Handler, headers: Mapping[str, str], receive: Receive, send: Send
) -> None:
    """Answer one request, of which nothing but the headers has been read."""
    try:
        talk = handler.talk(headers.get("content-type"), headers.get("accept"))
    except RequestError as error:
        return await send_response(send, failure(handler, error))
    out = Out(handler, talk, send)
    try:
        async with (
            asyncio.timeout(handler.max_seconds),
            aclosing(_answers(talk, receive)) as answers,
        ):
            async for answer in answers:
                await out.write(answer)
            await out.end()
    except TimeoutError:
        text = errors.SLOW_STREAM.format(seconds=handler.max_seconds)
        await out.fail(RequestError(text, 408))
    except (Gone, OSError):  # servers may raise OSError where nobody listens any more
        return None
    except RequestError as error:
        await out.fail(error)
    except Exception:
        await out.fail(RequestError(logged(headers.get("x-request-id")), 500))


class Out:
    """The response: it begins with the first answer, so that what fails before has a status."""

    def __init__(self, handler: Handler, talk: Talk, send: Send) -> None:
        self._handler = handler
        self._talk = talk
        self._send = send
        self._begun = False

    async def write(self, data: bytes) -> None:
        """Send an answer; returns when there is room for more."""
        if not self._begun:
            self._begun = True
            headers = {
                "content-type": self._talk.content_type,
                "x-content-type-options": "nosniff",
                "x-accel-buffering": "no",  # nginx would wait for the end
                "lamda-address": self._handler.bundle.address,
            }
            pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
            await self._send({"type": "http.response.start", "status": 200, "headers": pairs})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The response is complete."""
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: RequestError) -> None:
        """Say what is wrong: as a status where nothing has been sent, else in the last line."""
        if not self._begun:
            return await send_response(self._send, failure(self._handler, error))
        try:
            async with asyncio.timeout(LINGER):
                await self.write(self._talk.failed(str(error)))
                await self.end()
        except (TimeoutError, OSError):
            return None  # nobody reads


async def _answers(talk: Talk, receive: Receive) -> AsyncGenerator[bytes]:
    """Every answer, computed in a thread when it is asked for.

    Raises:
        Gone: the client went away.
        RequestError: a line is wrong.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        async for answer in _each(talk.feed(message.get("body", b""))):
            yield answer
    left = asyncio.ensure_future(receive())  # the body is over: what comes now is its leaving
    try:
        async for answer in _each(talk.end()):
            if left.done():
                raise Gone
            yield answer
    finally:
        left.cancel()


async def _each(answers: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (answer := await asyncio.to_thread(next, answers, None)) is not None:
        yield answer
