"""The gRPC half of the protocol: `with serving(handler, host, port) as port`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from serve.errors import ServeError

try:
    import grpc

    from serve.v2.service import Service
except ImportError as error:
    raise ServeError(
        f'gRPC takes the packages grpcio and protobuf: install "lamda[grpc]" ({error})'
    ) from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve.handler import Handler

THREADS = 8
MOST = 256  # requests at a time, those that wait for a thread among them
HEAD = 65_536  # bytes of a message besides its tensors
GRACE = 10  # seconds for what is under way when the server is told to stop


@contextmanager
def serving(handler: Handler, host: str, port: int) -> Iterator[int]:
    """The port that the service listens at until the block ends; port 0 takes any free one.

    What is under way then is finished.

    Raises:
        OSError: the port can not be listened on.
    """
    options = [
        ("grpc.so_reuseport", 0),  # else two servers share a port, and each gets half
        ("grpc.max_receive_message_length", handler.max_bytes + HEAD),
        ("grpc.max_send_message_length", -1),
    ]
    threads = ThreadPoolExecutor(THREADS)
    server = grpc.server(threads, [Service(handler).methods()], [], options, MOST)
    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        bound = server.add_insecure_port(place)
    except RuntimeError as error:
        raise OSError(f"can not listen on {place}: {error}") from None
    server.start()
    try:
        yield bound
    finally:
        server.stop(GRACE).wait()
        threads.shutdown(wait=False)
