"""Ray Serve: a real Ray, which takes a while to start, so RAY=1 runs this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import campaign
import httpx
import make
import numpy as np
import pytest
import tools
from answering import composition

import lamda as lm
import serve
from serve.body.forms import MSGPACK, NPY
from serve.errors import BundleError
from serve.ray import app

slow = pytest.mark.skipif("RAY" not in os.environ, reason="RAY=1 runs it: it starts a cluster")

MAIN = """
import json, sys
import ray
from ray import serve as server
from serve.ray import app

port, whole, parts = int(sys.argv[1]), sys.argv[2], sys.argv[3]
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
server.start(http_options={"host": "127.0.0.1", "port": port})
scaling = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 2}
cheap = {"ray_actor_options": {"num_cpus": 0.1}}
options = {**cheap, "autoscaling_config": scaling}
server.run(app({"bundle": whole, "options": options}), name="whole", route_prefix="/whole")
server.run(app({"parts": parts, "options": cheap}), name="parts", route_prefix="/parts")
print("ready", flush=True)
for line in sys.stdin:
    found = server.status().applications
    print(json.dumps({
        name: {each: said.replica_states for each, said in application.deployments.items()}
        for name, application in found.items()
    }), flush=True)
server.shutdown()
ray.shutdown()
"""


class Cluster(NamedTuple):
    """A Ray with two applications: a model whole, and in parts."""

    client: httpx.Client
    process: subprocess.Popen[str]
    bundle: str

    def replicas(self) -> dict[str, Any]:
        """The states of the replicas, by application and deployment."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray")
    f = lm.lift(lambda x: x * 2, input="float32[b, 2]", name="f")
    g = lm.lift(lambda x: x + 1, input="float32[b, 2]", name="g")
    for name, model in (("f", f), ("g", g), ("whole", f >> g)):
        lm.bundle(model, folder / name, batch=(1, 4))
    path = f"{make.ROOT}:{tools.package('ray[serve]', '2.60.0')}"
    port = tools.free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, str(port), str(folder / "whole"),
             f"{folder / 'f'},{folder / 'g'}"],
            env={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "ready\n", (folder / "log").read_text()[-4000:]
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, limits=campaign.ONCE
        ) as client:
            yield Cluster(client, process, str(folder / "whole"))
    finally:
        process.communicate(timeout=60)
        assert process.returncode == 0


@slow
def test_a_model_on_a_real_ray(cluster: Cluster) -> None:
    rows = b"[[1,2],[3,4.5]]"
    handler = serve.load(cluster.bundle)
    answer = cluster.client.post("/whole/", content=rows)
    assert (answer.status_code, answer.content) == (200, handler(rows))
    assert answer.headers["lamda-address"] == handler("who")
    assert cluster.client.get("/whole/").json()["name"] == handler.bundle.name
    assert cluster.client.post("/whole/", content=b"[[1]]").status_code == 400
    assert cluster.client.get("/whole/healthz").status_code == 200
    long = cluster.client.post("/whole/", content=b" " * ((16 << 20) + 1))
    assert long.status_code == 413


@slow
def test_a_composition_on_a_real_ray_is_the_whole(cluster: Cluster) -> None:
    handler = serve.load(cluster.bundle)
    for rows in (b"[[1,2]]", b"[[0.1,-7e-9],[3,4.5]]"):
        answer = cluster.client.post("/parts/", content=rows)
        assert (answer.status_code, answer.content) == (200, handler(rows))
    assert len(answer.headers["lamda-address"].split(",")) == 2
    found = cluster.replicas()
    assert set(found["parts"]) == {"Composition", "Part0", "Part1"}
    assert found["whole"]["Model"]["RUNNING"] >= 1
    assert [one["name"] for one in cluster.client.get("/parts/").json()["parts"]] == ["f", "g"]
    assert cluster.client.get("/parts/healthz").json() == {"status": "ok"}
    wrong = cluster.client.post("/parts/", content=b"[[1]]")
    assert (wrong.status_code, "expected a list of 2" in wrong.json()["error"]) == (400, True)
    assert cluster.client.get("/parts/none").status_code == 404


@slow
@pytest.mark.parametrize("route", ["/whole", "/parts"])
def test_broken_requests_on_a_real_ray(cluster: Cluster, route: str) -> None:
    def ask(request: campaign.Request) -> int:
        method, path, headers, body = request
        url = route + path
        return cluster.client.request(method, url, headers=headers, content=body).status_code

    def valid() -> None:
        assert cluster.client.post(f"{route}/", content=b"[[1,2]]").json() == [[3, 5]]

    campaign.run(ask, valid, campaign.Process(cluster.process.pid))


# Without a cluster: what a composition says, its parts called where they are.


ask = composition()


def test_a_composition_hands_answers_on() -> None:
    status, headers, body = ask("POST", "/", {}, b"[[1,2]]")
    assert (status, body, headers["content-type"]) == (200, b"[[4,8]]", "application/json")
    npy = ask("POST", "/", {"accept": NPY}, b"[[1,2]]")
    assert np.frombuffer(npy[2][-8:], "<f4").tolist() == [4, 8]
    again = ask("POST", "/", {"content-type": NPY}, npy[2])
    assert (again[1]["content-type"], np.frombuffer(again[2][-8:], "<f4").tolist()) == (
        NPY,
        [16, 32],
    )
    assert (
        ask("POST", "/", {"content-type": MSGPACK}, b"\x91\x92\x01\x02")[1]["content-type"]
        == MSGPACK
    )
    for accept in ("*/*", "text/html, */*;q=0.8", "application/*"):  # as for the whole
        assert ask("POST", "/", {"accept": accept}, b"[[1,2]]")[2] == b"[[4,8]]"
    assert ask("POST", "/", {"accept": f"{MSGPACK}, */*;q=0.1"}, b"[[1,2]]")[2] != b"[[4,8]]"
    named = {"x-request-id": "7", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    answer = ask("POST", "/", named, b"[[1,2]]")
    assert answer[1].items() >= named.items()
    assert ask("POST", "/", {}, b"[[1]]")[0] == 400
    assert ask("POST", "/", {"accept": "a/b"}, b"[[1,2]]")[0] == 406
    assert ask("POST", "/stream", {})[0] == 404
    assert ask("PUT", "/", {})[0] == 405
    assert ask("GET", "/healthz", {})[0] == ask("HEAD", "/", {})[0] == 200
    assert ask("GET", "/who", {})[0] == 404  # of which part?
    assert ask("POST", "/healthz", {})[0] == 405
    assert len(json.loads(ask("GET", "/", {})[2])["parts"]) == 2


def test_something_has_to_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDA_BUNDLE", raising=False)
    with pytest.raises(BundleError) as caught:
        app({})
    assert str(caught.value) == (
        "expected bundle=DIR, parts=DIR,DIR or LAMDA_BUNDLE: a bundle to serve"
    )
    with pytest.raises(BundleError, match="expected one part or more"):
        app({"parts": ","})


def test_broken_requests() -> None:
    with campaign.Apart(composition) as respond:

        def broken(request: campaign.Request) -> int:
            return respond(*request)[0]

        def valid() -> None:
            assert respond("POST", "/", {}, b"[[1,2]]")[2] == b"[[4,8]]"

        campaign.run(broken, valid, respond)
