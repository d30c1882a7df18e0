"""OpenWhisk: its action protocol on sockets, and compositions by its own conductor in node."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import campaign
import httpx
import make
import numpy as np
import pytest
import tools
from answering import action as action_apart
from hypothesis import strategies as st
from memory import ADDRESS, Bundle, doubling, handler

import lamda as lm
import serve.openwhisk
from serve.body.forms import NPY
from serve.errors import BundleError
from serve.openwhisk import make_main, sequence
from serve.openwhisk.proxy import CODE, END

COMPOSER = "0.12.0"


# The action


def test_arguments_are_answered_by_a_result() -> None:
    main = make_main(doubling())
    assert main({"value": [[1, 2]]}) == {"value": [[2, 4]]}
    assert main({"value": [[1, 2]], "other": 1}) == {"value": [[2, 4]]}  # a default parameter
    assert main({"value": [[1]]}) == {
        "error": "input[0]: expected a list of 2 for float32[b, 2], got a list of 1"
    }
    assert main({"input": 1}) == {
        "error": 'expected {"value": [[1.0, 2.0]]}, an object with a request in it, '
        "got an object with 'input'"
    }
    assert main({"value": [[1, float("nan")]]}) == {
        "error": "NaN is not JSON: expected a finite number"
    }


def test_each_message_of_a_trigger_has_an_answer() -> None:
    messages = [{"value": [[1, 2]], "topic": "t"}, {"value": 1}, 7]
    found = make_main(doubling())({"messages": messages})["messages"]
    assert found[0] == {"value": [[2, 4]]}
    assert [list(each) for each in found] == [["value"], ["error"], ["error"]]


def test_an_answer_that_openwhisk_would_not_take_is_refused() -> None:
    one, wide = {"array": ["uint8", []]}, {"array": ["uint8", [600_000]]}
    main = make_main(handler(Bundle(one, wide), lambda x: [np.full(600_000, x)]))
    assert main({"value": 1})["error"] == (
        "the answer has 1200011 bytes, OpenWhisk takes 1048576: send fewer rows"
    )
    answer = main(web("MQ=="))
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (
        413, "the answer has 1200001 bytes, OpenWhisk takes 1048576: send fewer rows"
    )  # fmt: skip


def web(body: str | None, method: str = "post", path: str = "", **headers: str) -> dict[str, Any]:
    """The arguments of a raw web action."""
    said = {"__ow_body": body} if body is not None else {}
    return {
        "__ow_method": method,
        "__ow_path": path,
        "__ow_headers": headers,
        "__ow_query": "",
        **said,
    }


def test_a_request_has_the_name_of_its_activation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("__OW_ACTIVATION_ID", "a1b2")
    monkeypatch.setenv("LAMDA_LOG", "json")
    main = make_main(doubling())
    web = {"__ow_method": "post", "__ow_body": "[[1,2]]"}
    assert main(web)["headers"]["x-request-id"] == "a1b2"
    assert main(web | {"__ow_body": 7})["headers"]["x-request-id"] == "a1b2"
    own = main(web | {"__ow_headers": {"X-Request-Id": "7"}})
    assert own["headers"]["x-request-id"] == "7"
    main({"value": [[1, 2]]})
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a1b2", "a1b2", "7", "a1b2"]


def test_a_web_action_is_answered_as_http() -> None:
    main = make_main(doubling())
    form = {"content-type": "application/json"}
    encoded = base64.b64encode(b"[[1,2]]").decode()
    answer = main(web(encoded, **form))
    assert (answer["statusCode"], answer["body"]) == (200, "[[2,4]]")
    assert answer["headers"]["lamda-address"] == ADDRESS
    assert main(web("[[1,2]]", **form))["body"] == "[[2,4]]"  # a gateway that does not encode
    assert (
        main(web("[[1,2]]", **{"Content-Type": "application/x-www-form-urlencoded"}))["body"]
        == "[[2,4]]"
    )
    binary = main(web(encoded, **form, accept=NPY))
    assert np.frombuffer(base64.b64decode(binary["body"])[-8:], "<f4").tolist() == [2, 4]
    again = main(web(binary["body"], **{"content-type": NPY}))
    assert np.frombuffer(base64.b64decode(again["body"])[-8:], "<f4").tolist() == [4, 8]
    assert json.loads(main(web(None, "get"))["body"])["address"] == ADDRESS
    assert main(web(None, "get", "/healthz"))["statusCode"] == 200
    assert "lamda_" in main(web(None, "get", "/metrics"))["body"]  # a text is not in base64
    assert main(web(None, "get", "/x"))["statusCode"] == 404
    assert main({**web(None), "value": [[1, 2]]})["body"] == "[[2,4]]"  # not raw
    assert main(web(None))["statusCode"] == 400
    assert main({**web(None), "__ow_body": 7})["statusCode"] == 400


def test_the_action_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError, match="LAMDA_BUNDLE is not set"):
        serve.openwhisk.main
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.openwhisk.other
    monkeypatch.setenv("LAMDA_BUNDLE", make.add_one(tmp_path / "bundle"))
    try:
        assert serve.openwhisk.main({"value": [[1, 2, 3]]}) == {"value": [[2, 3, 4]]}
    finally:
        vars(serve.openwhisk).pop("main", None)


# The action protocol


class Action(NamedTuple):
    """A container of OpenWhisk."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    def init(self, **value: Any) -> httpx.Response:
        body = {"value": {"name": "f", "main": "main", "binary": False, "code": "", **value}}
        return httpx.post(f"{self.url}/init", json=body, timeout=60)

    def run(self, value: Any) -> httpx.Response:
        told = {"activation_id": "a1", "deadline": "4102444800000", "namespace": "guest"}
        return httpx.post(f"{self.url}/run", json={"value": value, **told}, timeout=60)

    def wrote(self) -> tuple[list[str], list[str]]:
        """The lines on stdout and on stderr."""
        out, err = ((self.folder / name).read_text().splitlines() for name in ("out", "err"))
        return out, err


@contextlib.contextmanager
def action(directory: str) -> Iterator[Action]:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), tools.free_port()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "serve.openwhisk", directory], stdout=out, stderr=err,
                env={**os.environ, "PYTHONPATH": make.ROOT, "PORT": str(port)},
            )  # fmt: skip
        try:
            tools._await(port, process, folder / "err")
            yield Action(f"http://127.0.0.1:{port}", process, folder)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make.add_one(tmp_path_factory.mktemp("openwhisk") / "bundle")


def test_the_action_protocol(bundle: str) -> None:
    with action(bundle) as container:
        early = container.run({})
        assert (early.status_code, list(early.json())) == (500, ["error"])
        assert container.wrote() == ([END], [END])  # OpenWhisk waits for it in any case
        first = container.init(env={"SOME": "x", "not=one": "y"})
        assert (first.status_code, first.json()) == (200, {"ok": True})
        again = container.init()
        assert (again.status_code, again.json()) == (
            403, {"error": "Cannot initialize the action more than once."}
        )  # fmt: skip
        for rows in ([[1, 2, 3]], [[0.5, 0, 0]] * 5):
            answer = container.run({"value": rows})
            wanted = [[x + 1 for x in row] for row in rows]
            assert (answer.status_code, answer.json()) == (200, {"value": wanted})
        wrong = container.run({"value": 1})
        assert (wrong.status_code, list(wrong.json())) == (200, ["error"])
        assert httpx.get(f"{container.url}/init").status_code == 404
        out, err = container.wrote()
        assert out == [END] * 4
        assert [line for line in err if not line.startswith("serve: started ")] == [END] * 4
        container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(20) == 0


def test_a_run_that_is_under_way_is_finished_at_sigterm(bundle: str) -> None:
    with action(bundle) as container:
        container.init()
        host, port = container.url.removeprefix("http://").split(":")
        body = b'{"value": {"value": [[1,2,3]]}}'
        with socket.create_connection((host, int(port)), timeout=30) as peer:
            peer.sendall(b"POST /run HTTP/1.1\r\nContent-Length: %d\r\n\r\n{" % len(body))
            container.run({"value": 1})  # the first has arrived
            container.process.send_signal(signal.SIGTERM)
            peer.sendall(body[1:])
            assert peer.recv(65536).endswith(b'{"value":[[2,3,4]]}')
        assert container.process.wait(20) == 0


def test_what_fails_in_init_is_502(tmp_path: Path, bundle: str) -> None:
    with action(str(tmp_path / "none")) as container:
        failed = container.init()
        assert failed.status_code == 502
        assert "manifest.json does not exist" in failed.json()["error"]
    with action(bundle) as container:
        coded = container.init(code="def main(args): return args")
        assert (coded.status_code, coded.json()) == (502, {"error": CODE})
        assert container.init().status_code == 200


def test_what_is_no_message_is_refused_and_the_next_is_answered(bundle: str) -> None:
    with action(bundle) as container:
        container.init()
        host, port = container.url.removeprefix("http://").split(":")
        for raw, status in [
            (b"\0\r\n\r\n", 404), (b"POST /run HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            (b"POST /run HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
            (b"POST /run HTTP/1.1\r\nContent-Length: 4\r\n\r\n[1,2", 400),
            (b"POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ]:  # fmt: skip
            with socket.create_connection((host, int(port)), timeout=10) as peer:
                peer.sendall(raw)
                assert peer.recv(65536).startswith(b"HTTP/1.1 %d " % status), raw
        assert container.run({"value": [[1, 2, 3]]}).json() == {"value": [[2, 3, 4]]}


# Compositions

DRIVER = """
const { generate } = require('openwhisk-composer/conductor')
const [composition, input, routes] = JSON.parse(require('fs').readFileSync(0))
const code = generate({ name: 'whole', ...composition }).action.exec.code
const conductor = new Function('require', 'process', code + '\\nreturn main')(require, process)
console.log = () => {}
async function main () {
  // What the invoker of OpenWhisk does with a conductor action.
  let params = input
  for (let steps = 0; steps < 20; steps++) {
    const next = await conductor(params)
    if (next.action === undefined) return next.params || next
    const response = await fetch(routes[next.action] + '/run', {
      method: 'POST', body: JSON.stringify({ value: next.params })
    })
    params = { ...(await response.json()), ...next.state }
  }
}
main().then(result => process.stdout.write(JSON.stringify(result)))
"""


def composer() -> str:
    """The folder with the real openwhisk-composer."""
    if shutil.which("npm") is None:
        pytest.skip("the composer of OpenWhisk is fetched by npm, which is not installed")
    root = tools.CACHE / f"openwhisk-composer-{COMPOSER}"
    if not root.exists():
        new = root.with_name(f".{root.name}.{os.getpid()}")
        new.mkdir(parents=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(new)]
        try:
            done = subprocess.run([*command, f"openwhisk-composer@{COMPOSER}"], capture_output=True)
            if done.returncode:
                pytest.skip(f"npm can not install openwhisk-composer: {done.stderr[-200:]!r}")
            with contextlib.suppress(OSError):
                new.rename(root)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return str(root / "node_modules")


def node(script: str, given: Any) -> Any:
    done = subprocess.run(
        ["node", "-e", script], input=json.dumps(given).encode(), capture_output=True,
        env={**os.environ, "NODE_PATH": composer(), "__OW_ACTIVATION_ID": "a1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_sequence_is_what_composer_compiles() -> None:
    script = """
    const composer = require('openwhisk-composer')
    const names = JSON.parse(require('fs').readFileSync(0))
    process.stdout.write(JSON.stringify(composer.sequence(...names).compile()))
    """
    for names in (["f", "g"], ["f"], ["/guest/f", "p/g", "/guest/p/h"]):
        assert node(script, names) == sequence(names)


def test_a_composition_of_models_is_a_sequence_of_actions(tmp_path: Path) -> None:
    def affine(name: str, rows: int, columns: int, scale: float) -> lm.Model:
        w = np.arange(rows * columns, dtype="float32").reshape(rows, columns) * np.float32(scale)
        return lm.lift(lambda w, x: x @ w, w, input=f"float32[b, {rows}]", name=name)

    f, g = affine("f", 3, 4, 0.25), affine("g", 4, 2, 0.5)
    whole = f >> g
    for name, model in (("f", f), ("g", g), ("whole", whole)):
        lm.bundle(model, tmp_path / name, batch=(1, 4))
    rows = [[1, 2, 3], [0.5, -1, 0]]
    with action(str(tmp_path / "f")) as one, action(str(tmp_path / "g")) as other:
        assert one.init().status_code == other.init().status_code == 200
        routes = {"/_/f": one.url, "/_/g": other.url}
        found = node(DRIVER, [sequence(["f", "g"]), {"value": rows}, routes])
        wrong = node(DRIVER, [sequence(["f", "g"]), {"value": [[1]]}, routes])
    answer = serve.load(tmp_path / "whole")
    assert found == {"value": json.loads(answer(json.dumps(rows).encode()))}
    assert wrong == {"error": "input[0]: expected a list of 3 for float32[b, 3], got a list of 1"}


# Broken requests

ARGS = st.fixed_dictionaries({}, optional={
    "value": campaign.VALUES | campaign.ROWS, "messages": campaign.VALUES,
    "__ow_method": campaign.METHODS.map(str.lower) | campaign.VALUES,
    "__ow_headers": campaign.HEADERS | campaign.VALUES,
    "__ow_path": campaign.PATHS | campaign.VALUES,
    "__ow_body": campaign.BODIES.map(lambda body: base64.b64encode(body).decode())
    | campaign.VALUES,
})  # fmt: skip


def test_broken_arguments() -> None:
    with campaign.Apart(action_apart) as main:

        def ask(args: Any) -> int:
            found = main(args)
            json.dumps(found, allow_nan=False)
            assert "internal error" not in str(found)
            return found.get("statusCode", 200)

        def valid() -> None:
            assert main({"value": [[1, 2]]}) == {"value": [[2, 4]]}

        campaign.run(ask, valid, main, ARGS)


def test_broken_messages(bundle: str) -> None:
    with (
        action(bundle) as container,
        httpx.Client(base_url=container.url, timeout=60, limits=campaign.ONCE) as client,
    ):
        container.init()

        def ask(body: bytes) -> int:
            return client.post("/run", content=body).status_code

        def valid() -> None:
            assert container.run({"value": [[1, 2, 3]]}).json() == {"value": [[2, 3, 4]]}

        bodies = campaign.BODIES | campaign.VALUES.map(lambda v: json.dumps({"value": v}).encode())
        campaign.run(ask, valid, campaign.Process(container.process.pid), bodies)
