"""Handlers in processes of their own: a served bundle, and plain JAX to compare it with."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import lamda as lm

JSON = "application/json"
BOUND = 1e-5
"""How far an answer may be from that of another build of XLA, for logits of size 1 to 10."""


class Server:
    """A served bundle; ``first`` is the time from process start to first answer, in seconds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.first = 0.0

    def ask(self, body: bytes, content_type: str = JSON) -> Any:
        """The answer to one request. Raises OSError while the server is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/", body, {"Content-Type": content_type})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer)
        return answer


def question(text: str) -> bytes:
    """The request that asks about one text."""
    return json.dumps({"text": text}).encode()


@contextmanager
def server(bundle: Path, body: bytes, content_type: str = JSON) -> Iterator[Server]:
    """Serve a bundle in a fresh process until the block ends; ``body`` is its first request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        running = Server(probe.getsockname()[1])
    command = [sys.executable, "-m", "serve", str(bundle), "--port", str(running.port)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                running.ask(body, content_type)
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"the server ended with {process.returncode}") from None
                time.sleep(0.002)
        running.first = time.perf_counter() - start
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)


def plain_jit(model: lm.Model, tokenizer: bytes, text: str) -> float:
    """Seconds from process start to first answer where `jax.jit` is all there is."""
    script = Path(__file__).with_name("plain_jit.py")
    with tempfile.TemporaryDirectory() as folder:
        arrays = {"/".join(path): np.asarray(t.array) for path, t, _ in model.tensors()}
        np.savez(Path(folder, "weights.npz"), **arrays)  # type: ignore[arg-type]
        Path(folder, "tokenizer.json").write_bytes(tokenizer)
        start = time.perf_counter()
        subprocess.run([sys.executable, script, folder, text], check=True, capture_output=True)
        return time.perf_counter() - start


def ask(handler: lm.Handler, body: bytes) -> Any:
    """The answer of a handler in this process to one request."""
    return json.loads(handler(body))


def distance(answer: Any, other: Any) -> float:
    """The largest difference between two answers: arrays, or dicts of them."""
    if isinstance(other, Mapping):
        return max(distance(answer[key], other[key]) for key in other)
    return float(np.abs(np.asarray(answer) - np.asarray(other)).max())
