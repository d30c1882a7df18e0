"""`python -m serve DIR` serves a bundle over HTTP; with `--request FILE` it answers one request.

With `--fork SOCKET` it starts an instance for each connection (serve.fork). What else can be said
of how it serves is said by the environment (docs/http.md).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import NoReturn

    from serve.handler import Handler

FORMS = {
    ".npy": "application/x-npy", ".msgpack": "application/msgpack", ".txt": "text/plain",
    ".bin": "application/octet-stream", ".jpg": "image/jpeg", ".png": "image/png",
}  # fmt: skip


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
        return _run(options)
    except (ServeError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    import serve

    if options.fork is not None:
        from serve.fork import Server

        Server(
            options.directory, options.fork, plugin=options.plugin, trusted=options.require_key,
            instances=options.instances,
        ).run()  # fmt: skip
        return 0

    def load() -> Handler:
        return serve.load(options.directory, plugin=options.plugin, trusted=options.require_key)

    if options.request is not None:
        return _answer(load(), options.request)
    from serve.http import server

    def beside(handler: Handler) -> AbstractContextManager[int]:
        from serve.v2 import grpc

        return grpc.serving(handler, options.host, options.grpc)

    server.run(load, options.host, options.port, None if options.grpc is None else beside)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m serve", description=__doc__, allow_abbrev=False,
        formatter_class=_formatter,
    )  # fmt: skip
    parser.add_argument("directory", metavar="DIR", help="the directory of a bundle")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes any free one")
    parser.add_argument(
        "--grpc", type=_port, metavar="PORT", help="answer the Open Inference Protocol there too"
    )
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
    parser.add_argument(
        "--fork",
        metavar="SOCKET",
        help="listen on this Unix socket instead, and fork an instance for each connection",
    )
    parser.add_argument(
        "--instances", type=_count, default=64, metavar="N", help="at most so many at a time"
    )
    return parser.parse_args(arguments)


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Where the width is not given, it is asked of shutil, which takes 5 ms to import.
    return argparse.HelpFormatter(prog, width=98)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
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


if __name__ == "__main__":
    sys.exit(main())
