"""A model behind HTTP and behind Lambda: what it costs, how much it takes, how it ends.

    .venv/bin/python benchmarks/serve.py [--rounds 5] [--only NAME ...]

NAME is a part. `cpu`: processor time of a request to the identity model, beside that of uvicorn
and starlette returning a constant. `throughput`: eight layers of 512, rows of numbers as they are
in memory, beside BentoML and LitServe, which take them as JSON does, in lists, or as base64 in
JSON, and compute with numpy.
`stop`: requests that are under way when SIGTERM comes. `lambda`: the time of an event through the
emulator of AWS, beside a loop that returns a constant. Every server is fresh in each round, the
rounds are shuffled, and each first answer is checked. The first run installs the peers under
`.cache/peers`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "serve")]

import rie  # noqa: E402
from peers import environments, functions, models, prepare, processes, runners, weights  # noqa: E402
from peers.hosted import Server  # noqa: E402
from peers.load import load  # noqa: E402

import lamda as lm  # noqa: E402

CONNECTIONS = 8
SECONDS = 3.0
EVENTS = 400
IDENTITY = b"[[1,2,3,4]]"
FOLDER = models.CACHE / "models"
OCTETS = "application/octet-stream"


def served(bundle: Path) -> tuple[str, ...]:
    return ("-m", "serve", str(bundle), "--port", "{port}")


# What is compared


def identity() -> dict[str, Server]:
    """The identity, and a constant of the same bytes."""

    def check(answer: bytes) -> None:
        assert json.loads(answer) == json.loads(IDENTITY), answer

    program = ("with_starlette.py", "{port}", IDENTITY.decode())
    return {
        "lamda, identity": Server("lamda", served(FOLDER / "identity" / "bundle"), IDENTITY, check),
        "starlette, a constant": Server("starlette", program, IDENTITY, check),
    }


def mlp(rows: int) -> dict[str, Server]:
    """The same layers and the same rows: in lists, as one writes JSON, or as they are in memory."""
    case = models.case("mlp", rows)
    body = case.inputs["x"].tobytes()
    lists = json.dumps({"x": case.inputs["x"].tolist()}).encode()
    text = json.dumps({"x": base64.b64encode(body).decode()}).encode()

    def listed(answer: bytes) -> None:
        found = json.loads(answer)
        found = found["x"] if isinstance(found, dict) else found
        case.check(np.asarray(found, np.float32).tobytes())

    def packed(answer: bytes) -> None:
        found = json.loads(answer)["x"] if answer.startswith(b"{") else answer.strip(b'"')
        case.check(base64.b64decode(found))

    def bentoml(asked: bytes, path: str, check: Callable[[bytes], None]) -> Server:
        return Server(
            "bentoml", ("-m", "bentoml", "serve", "with_bentoml:Mlp", "--port", "{port}"), asked,
            check, path=path, environ={"WEIGHTS": str(case.folder), "BENTOML_DO_NOT_TRACK": "1"},
        )  # fmt: skip

    def litserve(asked: bytes, form: str, check: Callable[[bytes], None]) -> Server:
        command = ("with_litserve.py", "{port}", str(case.folder), form)
        return Server("litserve", command, asked, check, path="/predict")

    return {
        "lamda": Server("lamda", served(case.folder / "bundle"), body, case.check, OCTETS),
        "BentoML, lists": bentoml(lists, "/run", listed),
        "BentoML, base64": bentoml(text, "/packed", packed),
        "LitServe, lists": litserve(lists, "lists", listed),
        "LitServe, base64": litserve(text, "base64", packed),
    }


# The parts


def loaded(servers: dict[str, Server], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Answers a second and processor seconds of an answer, for each server and round."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for order in runners.shuffled(servers, rounds):
        for name in order:
            server = servers[name]
            ask = (server.path, server.content_type, server.body)
            with server.running() as running:
                load(running.port, *ask, 1.0, CONNECTIONS)  # to the end of what starts late
                before = running.busy()
                done = load(running.port, *ask, SECONDS, CONNECTIONS)
                found[name].append((done.rate, (running.busy() - before) / done.answered))
    return found


def show(text: str, found: dict[str, list[tuple[float, float]]]) -> None:
    """A line for each server."""
    runners.header(text, f"{'answers/s':>10} {'cpu us':>8}")
    for name, samples in found.items():
        rate, busy = (statistics.median(part) for part in zip(*samples, strict=True))
        print(f"  {name:<30} {rate:10.0f} {1e6 * busy:8.0f}", flush=True)


def median(found: dict[str, list[tuple[float, float]]], name: str, part: int) -> float:
    return statistics.median(sample[part] for sample in found[name])


def cpu(rounds: int) -> None:
    found = loaded(identity(), rounds)
    show(f"a request of the identity, {rounds} fresh servers each", found)
    ours, theirs = found
    runners.goals([
        ("cpu of a request / starlette's",
         lambda: median(found, ours, 1) / median(found, theirs, 1), 1.0, ""),
    ])  # fmt: skip


def throughput(rounds: int) -> None:
    for rows in models.BATCHES:
        found = loaded(mlp(rows), rounds)
        rows_ = "a row" if rows == 1 else f"{rows} rows"
        show(f"eight layers of 512, {rows_} a request, {rounds} fresh servers each", found)

        def share(peer: str, found: dict[str, list[tuple[float, float]]]) -> float:
            return median(found, peer, 0) / median(found, "lamda", 0)

        runners.goals([
            (f"throughput of {peer} / lamda's", partial(share, peer, found), 0.1, "")
            for peer in found if peer != "lamda"
        ])  # fmt: skip


def stop(rounds: int) -> None:
    """SIGTERM comes while clients ask, each on a connection of its own or on one for all.

    Every request has an id, which the log of the server has for each that it has answered: what it
    answered and no client got is lost.
    """
    case = models.case("mlp", 32)
    body = np.tile(case.inputs["x"], (16, 1)).tobytes()  # 512 rows: some are always under way
    server = Server(
        "lamda", served(case.folder / "bundle"), body, lambda answer: None, OCTETS,
        environ={"LAMDA_LOG": "json"},
    )  # fmt: skip
    total: Counter[str] = Counter()
    for keep in [True, False] * rounds:
        with server.running() as running:
            clients = [Client(running.port, body, keep) for _ in range(CONNECTIONS)]
            for client in clients:
                client.start()
            time.sleep(2.0)
            under_way = sum(client.waits for client in clients)
            running.process.terminate()
            for client in clients:
                client.join()
            assert running.process.wait(30) == 0, running.process.returncode
            taken = _answered(running.said())
        got = {name for client in clients for name in client.answered}
        cut = {name for client in clients for name in client.cut}
        closed = {name for client in clients for name in client.closed}
        total["waited for an answer when SIGTERM came"] += under_way
        total["answered"] += len(got)
        total["lost"] += len(cut) + len(closed & taken)
        total["closed unread, which may be sent again"] += len(closed - taken)
    runners.header(f"SIGTERM under load, {2 * rounds} servers", "")
    for name, count in total.items():
        print(f"  {name:<40} {count:8}")
    runners.goals([("accepted requests that were lost", lambda: total["lost"], 0, "")])


def _answered(lines: list[str]) -> set[str]:
    """The ids of the requests that a server says it has answered."""
    said = [json.loads(line) for line in lines if line.startswith("{")]
    return {one["id"] for one in said if one["event"] == "request" and one.get("id")}


class Client(threading.Thread):
    """Asks until nobody listens, and notes what became of each request."""

    def __init__(self, port: int, body: bytes, keep: bool) -> None:
        super().__init__(daemon=True)
        self.answered: set[str] = set()
        self.cut: set[str] = set()
        """Those whose answer broke off."""
        self.closed: set[str] = set()
        """Those on a connection that the server closed without a byte of an answer."""
        self.waits = False
        self._port, self._body, self._keep = port, body, keep
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                self._ask(os.urandom(8).hex())

    def _ask(self, name: str) -> None:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            self._connection.connect()
        headers = {"Content-Type": OCTETS, "X-Request-Id": name}
        headers |= {} if self._keep else {"Connection": "close"}
        kept = False
        try:
            self._connection.request("POST", "/", self._body, headers)
            self.waits = True
            response = self._connection.getresponse()
            kept = self._keep and not response.will_close
            try:
                response.read()
            except (OSError, http.client.HTTPException):
                self.cut.add(name)
            else:
                assert response.status == 200, response.status
                self.answered.add(name)
        except (OSError, http.client.HTTPException):
            kept = False
            self.closed.add(name)
        self.waits = False
        if not kept:
            self._connection.close()
            self._connection = None


def events(rounds: int) -> None:
    """Milliseconds of an event, by the emulator's own HTTP."""
    bundle, python = FOLDER / "identity" / "bundle", environments.python("lamda")
    commands = {
        "lamda, identity": (python, "-m", "serve.aws", str(bundle)),
        "a constant": (python, str(HERE / "peers" / "with_constant.py"), IDENTITY.decode()),
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for order in runners.shuffled(commands, rounds):
        for name in order:
            with rie.running(*commands[name], **processes.variables()) as function:
                assert json.loads(function(IDENTITY)) == json.loads(IDENTITY)
                found[name].append(_event(function.url))
    runners.header(f"an event through the emulator, {rounds} fresh each", f"{'median ms':>10}")
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, time_of in medians.items():
        print(f"  {name:<30} {1e3 * time_of:10.3f}")
    ours, floor = (medians[name] for name in commands)
    runners.goals(
        [("over a handler that returns a constant", lambda: 1e3 * (ours - floor), 1, "ms")]
    )


def _event(url: str) -> float:
    """The median of the seconds of some events, on one connection."""
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address)
    times = []
    for _ in range(EVENTS):
        begun = time.perf_counter()
        connection.request("POST", f"/{path}", IDENTITY)
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[EVENTS // 8 :])


PARTS = {"cpu": cpu, "throughput": throughput, "stop": stop, "lambda": events}


def made() -> None:
    """The bundles: the identity, and the eight layers that the other benchmarks have too."""
    os.environ["LAMDA_CACHE"] = str(models.CACHE / "cache")
    same = lm.lift(lambda x: x, input="float32[b, 4]", name="identity")
    lm.bundle(same, FOLDER / "identity" / "bundle", name="identity", batch=(1, 8))
    folder, numbers = FOLDER / "mlp", prepare.numbers("mlp")
    folder.mkdir(parents=True, exist_ok=True)
    weights.write(str(folder), numbers)
    lm.bundle(prepare.model("mlp", numbers), folder / "bundle", name="mlp", batch=models.BATCHES)
    for rows in models.BATCHES:
        answer = functions.mlp(numbers, jnp.asarray(models.case("mlp", rows).inputs["x"]))
        np.save(folder / f"b{rows}.answer.npy", np.asarray(answer))


def main() -> None:
    given = runners.options(__doc__ or "", 5, list(PARTS))
    made()
    for name in runners.chosen(PARTS, given.only):
        PARTS[name](given.rounds)


if __name__ == "__main__":
    main()
