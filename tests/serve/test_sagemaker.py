"""SageMaker: what its documents say of a container, asked over sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import campaign
import httpx
import make
import numpy as np
import pytest
import tools

import serve.sagemaker
from serve.body.forms import MSGPACK, NPY
from serve.errors import BundleError

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


@pytest.fixture(scope="module")
def container(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """`docker run IMAGE serve`, without the docker."""
    folder = tmp_path_factory.mktemp("sagemaker")
    bundle, port = make.add_one(folder / "bundle"), tools.free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve.sagemaker", bundle, "serve"], stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": make.ROOT, "SAGEMAKER_BIND_TO_PORT": str(port)},
        )  # fmt: skip
    try:
        tools._await(port, process, folder / "log")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=60, limits=campaign.ONCE
        ) as client:
            yield client, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_ping_is_answered_within_two_seconds(container: Any) -> None:
    client, _ = container
    answer = client.get("/ping", timeout=2)
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_invocations_are_answered_in_the_form_that_is_asked_for(container: Any) -> None:
    client, _ = container
    answer = client.post("/invocations", content=b"[[1,2,3]]", headers={"accept": "*/*"})
    assert (answer.status_code, answer.json()) == (200, [[2, 3, 4]])
    assert answer.headers["content-type"] == "application/json"
    binary = client.post("/invocations", content=b"[[1,2,3]]", headers={"accept": NPY})
    assert np.frombuffer(binary.content[-12:], "<f4").tolist() == [2, 3, 4]
    again = client.post(
        "/invocations", content=binary.content, headers={"content-type": NPY, "accept": MSGPACK}
    )
    assert again.headers["content-type"] == MSGPACK
    wrong = client.post("/invocations", content=b"a,b", headers={"content-type": "text/csv"})
    assert wrong.status_code == 415
    assert client.get("/invocations").json()["name"] == "add_one"
    assert client.post("/ping").status_code == 405


def test_the_answer_names_the_model_in_what_sagemaker_hands_on(container: Any) -> None:
    client, _ = container
    told = f"lamda-address={client.get('/').json()['address']}"

    def attributes(**headers: str) -> str:
        answer = client.post("/invocations", content=b"[[1,2,3]]", headers=headers)
        return answer.headers[ATTRIBUTES]

    assert attributes() == told
    assert attributes(**{ATTRIBUTES: "trace=1"}) == f"{told}; trace=1"
    assert attributes(**{ATTRIBUTES: "x" * 1024}) == told
    refused = client.post("/invocations", content=b"[[1]]", headers={ATTRIBUTES: "trace=2"})
    assert (refused.status_code, refused.headers[ATTRIBUTES]) == (400, f"{told}; trace=2")


def test_a_stream_is_asked_for_by_its_content_type(container: Any) -> None:
    client, _ = container
    answer = client.post(
        "/invocations", content=b"{}\n", headers={"content-type": "application/x-ndjson"}
    )
    assert "does not stream" in json.loads(answer.content)["error"]


def test_without_a_model_there_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serve.sagemaker", "serve"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": make.ROOT}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("serve: /opt/ml/model/manifest.json does not exist.")


def test_the_app_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAMDA_BUNDLE", str(tmp_path))
    with pytest.raises(BundleError, match="manifest.json does not exist"):
        serve.sagemaker.app
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        serve.sagemaker.other


def test_broken_requests(container: Any) -> None:
    client, process = container

    def ask(request: campaign.Request) -> int:
        method, path, headers, body = request
        path = "/invocations" if path == "/" else path
        return client.request(method, path, headers=headers, content=body).status_code

    def valid() -> None:
        assert client.post("/invocations", content=b"[[1,2,3]]").json() == [[2, 3, 4]]

    campaign.run(ask, valid, campaign.Process(process.pid))
