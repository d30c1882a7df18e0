"""`python -m serve DIR` serves a bundle over HTTP; with `--request FILE` it answers one request."""

from __future__ import annotations

import argparse
import os
import signal
import sys

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

    from serve.handler import Handler

FORMS = {".npy": "application/x-npy", ".msgpack": "application/msgpack", ".txt": "text/plain"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"serve: {message}; see python -m serve --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _options(arguments)
    # Once the server runs it finishes what it has begun; before that there is nothing to finish.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from serve.errors import ServeError

    try:
        import serve

        handler = serve.load(options.directory, plugin=options.plugin, trusted=options.require_key)
        if options.request is not None:
            return _answer(handler, options.request)
        return _serve(handler, options.host, options.port)
    except (ServeError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", metavar="DIR", help="the directory of a bundle")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes any free one")
    parser.add_argument("--plugin", metavar="PATH", help="a PJRT plugin, a shared library")
    parser.add_argument(
        "--require-key",
        action="append",
        metavar="PUB",
        help="refuse a bundle that this public key, a PEM file, has not signed; may be given "
        "again. Default: those in $LAMDA_REQUIRE_KEY, if it is set",
    )
    parser.add_argument(
        "--request",
        metavar="FILE",
        help="answer the request in FILE (- is stdin) on stdout; JSON unless it ends in "
        + ", ".join(FORMS),
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _answer(handler: Handler, path: str) -> int:
    if path == "-":
        body = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as file:
            body = file.read()
    answer, form = handler.answer(body, FORMS.get(os.path.splitext(path)[1]))
    sys.stdout.buffer.write(answer + b"\n" * (form == "application/json"))
    sys.stdout.buffer.flush()
    return 0


def _serve(handler: Handler, host: str, port: int) -> int:
    try:
        import uvicorn
    except ImportError:
        text = 'serve: HTTP takes the package uvicorn: install it, or "lamda[http]"'
        print(text, file=sys.stderr)
        return 1
    from serve.http import make_app

    bound = _listen(host, port)
    place = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
    bundle, engine = handler.bundle, handler.engine
    ready = f"serving {bundle.name} {bundle.address} at {place} ({engine.way}: {engine.why})"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(ready, flush=True)

    config = uvicorn.Config(
        make_app(handler),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=10,
    )
    with bound:
        Server(config).run(sockets=[bound])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"can not listen on {host}:{port}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
