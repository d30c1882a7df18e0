"""The fork server, from outside: instances, limits, faults, and the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import make
import pytest

import serve
from serve import fork
from serve.body.forms import MSGPACK
from serve.errors import BundleError, RequestError, ServeError
from serve.fork import listener

BODY = b"[[0,0,0],[1,2,3]]"
ANSWER = [[1, -1], [5, 4.5]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.dense(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:  # a short one: Unix sockets take 107 bytes
        yield f"{folder}/socket"


class Forking:
    """A fork server as a process."""

    def __init__(self, path: str, *arguments: str, **environment: str) -> None:
        self.path = path
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serve", "--fork", path, *arguments],
            env={**os.environ, "PYTHONPATH": make.ROOT, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> dict[str, object]:
        """What it says when it is there."""
        line = self.read()
        assert line.startswith("serve: started "), line
        return json.loads(line.removeprefix("serve: started "))

    def read(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        self.log.append(line)
        return line

    def children(self) -> list[int]:
        """The process ids of its instances, zombies too."""
        pid = self.process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def until(self, count: int) -> None:
        """Wait until there are that many instances."""
        for _ in range(500):
            if len(self.children()) == count:
                return
            time.sleep(0.01)
        raise AssertionError(f"expected {count} instances, found {self.children()}")

    def end(self) -> tuple[int, str]:
        """End it as an operator does; its exit code, and what it said since."""
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=20)[1]
        return self.process.returncode, said


@contextlib.contextmanager
def forking(path: str, *arguments: str, **environment: str) -> Iterator[Forking]:
    server = Forking(path, *arguments, **environment)
    try:
        server.wait()
        yield server
    finally:
        if server.process.poll() is None:
            for pid in [*server.children(), server.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        server.process.communicate()


def test_an_instance_is_a_process_that_ends_with_its_connection(bundle: str, path: str) -> None:
    with forking(path, bundle) as server:
        assert server.children() == []
        with fork.connect(path) as one, fork.connect(path) as other:
            assert json.loads(one(BODY)) == json.loads(other(BODY)) == ANSWER
            assert one(BODY) == serve.load(bundle)(BODY)  # the same executable: to the bit
            assert len(server.children()) == 2
            runtime = one.describe()["runtime"]
            assert runtime["way"] == "executable"
            one.close()
            server.until(1)  # and no zombie is left
            assert json.loads(other(BODY)) == ANSWER
        server.until(0)
        assert server.end() == (0, "")
        assert not os.path.exists(path)


def test_the_log_says_which_way_the_engine_took(bundle: str, path: str) -> None:
    server = Forking(path, bundle, XLA_FLAGS="--no_such_flag")
    try:
        said = server.wait()
        assert (said["front"], said["name"], said["way"]) == ("fork", "dense", "executable")
        assert said["address"] == make.read(bundle)["address"]
        assert any("--no_such_flag" in str(note) for note in said["notes"])  # type: ignore[union-attr]
        with fork.connect(path) as instance:
            assert json.loads(instance(BODY)) == ANSWER
    finally:
        server.end()


def test_errors_and_forms_are_those_of_the_handler(bundle: str, path: str) -> None:
    with forking(path, bundle), fork.connect(path) as instance:
        with pytest.raises(RequestError) as caught:
            instance(b"[[1]]")
        text = "input[0]: expected a list of 3 for float32[b, 3], got a list of 1"
        assert (str(caught.value), caught.value.status) == (text, 400)
        with pytest.raises(RequestError, match="expected the content type") as caught:
            instance(BODY, "text/html")
        assert caught.value.status == 415
        packed = instance(BODY, accept=MSGPACK)
        assert packed == serve.load(bundle)(BODY, accept=MSGPACK)
        large = json.dumps([[0.5] * 3] * 20_000).encode()  # in pieces, in both directions
        assert instance(large) == serve.load(bundle)(large)


def test_any_client_of_http_may_call(bundle: str, path: str) -> None:
    with forking(path, bundle) as server:
        with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://x") as client:
            assert client.post("/", content=BODY).json() == ANSWER
            assert client.get("/healthz").json() == {"status": "ok"}
            assert client.get("/").json()["name"] == "dense"
            assert client.post("/nothing").status_code == 404
            assert len(server.children()) == 1
        server.until(0)


def test_a_connection_too_many_is_a_503(bundle: str, path: str) -> None:
    with forking(path, bundle, "--instances", "1") as server:
        with fork.connect(path) as first:
            assert json.loads(first(BODY)) == ANSWER
            with fork.connect(path) as second, pytest.raises(ServeError) as caught:
                second(BODY)
            assert str(caught.value) == (
                "there are 1 instances already: hang up on one, or try again later"
            )
            assert json.loads(first(BODY)) == ANSWER
        server.until(0)
        with fork.connect(path) as third:
            assert json.loads(third(BODY)) == ANSWER


def test_an_instance_that_dies_is_reported_and_the_others_go_on(bundle: str, path: str) -> None:
    with forking(path, bundle) as server, fork.connect(path) as well:
        assert json.loads(well(BODY)) == ANSWER
        (healthy,) = server.children()
        for number in (signal.SIGSEGV, signal.SIGKILL):
            with fork.connect(path) as ill:
                assert json.loads(ill(BODY)) == ANSWER
                (pid,) = set(server.children()) - {healthy}
                os.kill(pid, number)
                with pytest.raises(ServeError) as caught:
                    ill(BODY)
                assert str(caught.value) == (
                    "the instance ended without an answer: see the log of the fork server, and "
                    "connect again"
                )
            line = f"serve: instance {pid} ended by {number.name}; the others go on\n"
            assert server.read() == line
        assert json.loads(well(BODY)) == ANSWER
        assert server.children() == [healthy]


def test_a_hundred_instances_leave_nothing_behind(bundle: str, path: str) -> None:
    with forking(path, bundle) as server:
        with fork.connect(path) as first:  # what is opened to start is closed by then
            assert json.loads(first(BODY)) == ANSWER
        server.until(0)
        before = len(os.listdir(f"/proc/{server.process.pid}/fd"))

        def some() -> None:
            for _ in range(25):
                with fork.connect(path) as instance:
                    assert json.loads(instance(BODY)) == ANSWER

        callers = [threading.Thread(target=some) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        for _ in range(20):  # and callers that hang up before they say a word
            fork.connect(path).close()
        server.until(0)
        assert len(os.listdir(f"/proc/{server.process.pid}/fd")) == before
        assert server.end() == (0, "")


def test_what_is_under_way_is_finished_and_the_idle_hang_up(bundle: str, path: str) -> None:
    with forking(path, bundle) as server:
        with fork.connect(path) as idle, socket.socket(socket.AF_UNIX) as busy:
            assert json.loads(idle(BODY)) == ANSWER
            busy.connect(path)
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
            busy.sendall(head + BODY[:5])
            server.until(2)
            time.sleep(0.3)  # it has read the head
            server.process.send_signal(signal.SIGTERM)
            server.until(1)  # the idle one has gone
            assert server.process.poll() is None
            with pytest.raises(OSError):
                fork.connect(path)
            busy.sendall(BODY[5:])
            answer = b""
            while part := busy.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == ANSWER
        assert server.process.wait(10) == 0


def test_an_instance_outlives_a_server_that_is_killed(bundle: str, path: str) -> None:
    with forking(path, bundle) as server, fork.connect(path) as instance:
        assert json.loads(instance(BODY)) == ANSWER
        server.process.kill()
        server.process.wait()
        assert json.loads(instance(BODY)) == ANSWER
        assert os.path.exists(path)  # it had no time to tidy up: the next one does
        with forking(path, bundle), fork.connect(path) as other:
            assert json.loads(other(BODY)) == ANSWER


def refused(path: str, bundle: str, **environment: str) -> str:
    """What a server says that does not start."""
    server = Forking(path, bundle, **environment)
    said = server.process.communicate(timeout=60)[1]
    assert server.process.returncode == 1
    assert said.count("\n") == 1
    return said


def test_the_file_of_the_socket(bundle: str, path: str) -> None:
    with forking(path, bundle):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert refused(path, bundle) == (
            f"serve: can not listen on {path}: another server does. End that one, or name "
            "another path\n"
        )
        with fork.connect(path) as instance:  # and the first one is none the worse
            assert json.loads(instance(BODY)) == ANSWER
    other = path + "2"
    Path(other).write_text("precious")
    assert refused(other, bundle) == (
        f"serve: can not listen on {other}: expected a path that is free, found a file\n"
    )
    assert Path(other).read_text() == "precious"
    assert "AF_UNIX path too long" in refused(path + "x" * 200, bundle)


def test_a_bundle_that_can_not_run_does_not_start(bundle: str, path: str, tmp_path: Path) -> None:
    assert refused(path, str(tmp_path / "none")).startswith(f"serve: {tmp_path}/none/manifest.json")
    text = refused(path, bundle, LAMDA_PJRT_PLUGIN=str(tmp_path / "none.so"))
    assert "names the PJRT plugin" in text
    assert not os.path.exists(path)


ALONE = """
import json, sys, threading
from serve import fork
from serve.errors import ServeError

go = threading.Event()
threading.Thread(target=go.wait).start()
try:
    fork.Server(*sys.argv[1:]).run()
except ServeError as error:
    print(json.dumps(str(error)))
go.set()
"""


def test_a_process_with_threads_is_not_forked(bundle: str, path: str) -> None:
    assert make.python(ALONE, bundle, path) == (
        "expected to be called in the only thread of a process, since it forks; this one has 2: "
        "run python -m serve --fork"
    )


CRASHING = """
import json, os, signal, sys
from serve import fork
from serve.errors import ServeError
from serve.runtime.engine import Engine

Engine.warm = lambda self: os.kill(os.getpid(), signal.SIGILL)
try:
    fork.Server(*sys.argv[1:]).run()
except ServeError as error:
    print(json.dumps(str(error)))
"""


def test_the_first_instance_dies_for_the_server(bundle: str, path: str) -> None:
    assert make.python(CRASHING, bundle, path) == (
        "the first instance of dense ended by SIGILL: it can not be run here"
    )


def test_a_bundle_without_an_executable_is_compiled_once(path: str, tmp_path: Path) -> None:
    compiled = make.dense(tmp_path / "bundle", executables=False)
    with forking(path, compiled, LAMDA_CACHE=str(tmp_path / "cache")):
        kept = list((tmp_path / "cache" / "compiled").iterdir())
        assert len(kept) == len(make.read(compiled)["programs"])
        stamps = [file.stat().st_mtime_ns for file in kept]
        with fork.connect(path) as instance:
            assert json.loads(instance(BODY)) == ANSWER
            assert instance.describe()["runtime"]["way"] == "compiled"
        assert [file.stat().st_mtime_ns for file in kept] == stamps


def test_where_nothing_can_be_kept_the_plugin_is_still_hashed_once(bundle: str, path: str) -> None:
    with forking(path, bundle, LAMDA_CACHE="/proc/none") as server, fork.connect(path) as instance:
        assert json.loads(instance(BODY)) == ANSWER
        assert instance.describe()["runtime"]["way"] == "executable"
        (pid,) = server.children()
        read = Path(f"/proc/{pid}/io").read_text().split()[1]
        assert int(read) < 20_000_000  # bytes; the plugin has 200 MB


def test_nobody_listens() -> None:
    with pytest.raises(OSError):
        fork.connect("/no/such/socket")
    with pytest.raises(BundleError):
        fork.Server("/no/such/bundle", "/no/such/socket")


def test_whoever_sees_the_file_can_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is there before somebody listens refuses who came early."""
    seen = []
    real = socket.socket.listen

    def listening(self: socket.socket, backlog: int) -> None:
        seen.append((tmp_path / "socket").exists())
        real(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listening)
    with listener.listen(str(tmp_path / "socket"), 0o600) as found:
        assert seen == [False] and [each.name for each in tmp_path.iterdir()] == ["socket"]
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(tmp_path / "socket"))
        assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
        assert found.socket.fileno() > 0
    assert not list(tmp_path.iterdir())
