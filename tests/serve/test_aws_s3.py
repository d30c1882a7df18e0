"""Objects on a real server of S3, which checks every signature; queues on one of moto."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make
import numpy as np
import pytest
import rie
import seaweed
import tools
from hypothesis import given
from hypothesis import strategies as st
from memory import doubling

from serve.aws import client, make_handler, objects, results, start
from serve.aws.sigv4 import signed
from serve.errors import BundleError, RequestError

EVENTS = Path(__file__).parent / "events"
KEYS = {
    "AWS_ACCESS_KEY_ID": "reader",
    "AWS_SECRET_ACCESS_KEY": "se/cret+",
    "AWS_REGION": "eu-west-1",
}
MOTO = ("moto[server]", "5.2.5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that knows one pair of keys, with the buckets `inputs` and `answers`."""
    folder = tmp_path_factory.mktemp("weed")
    credentials = {
        "accessKey": KEYS["AWS_ACCESS_KEY_ID"],
        "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"],
    }
    config = {
        "identities": [{"name": "function", "credentials": [credentials], "actions": ["Admin"]}]
    }
    (folder / "s3.json").write_text(json.dumps(config))
    ports = dict(zip(("master", "volume", "filer", "s3"), seaweed._ports(4), strict=True))
    command = [str(seaweed._program()), "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
               f"-s3.config={folder}/s3.json", f"-dir={folder}", "-s3.port.iceberg=0",
               "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=20",
               "-master.telemetry=false",
               *(f"-{name}.port={port}" for name, port in ports.items())]  # fmt: skip
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in KEYS.items():
                patch.setenv(name, value)
            until = time.monotonic() + 60
            for bucket in ("inputs", "answers"):
                while not _made(f"{endpoint}/{bucket}"):
                    assert process.poll() is None, (folder / "log").read_text()[-2000:]
                    assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
                    time.sleep(0.1)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _made(bucket: str) -> bool:
    with contextlib.suppress(client.AwsError):
        client.ask("s3", "PUT", bucket)
        return True
    return False


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server, with the environment of a function that may use it."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    monkeypatch.delenv("LAMDA_RESULTS", raising=False)
    return server


def event(*keys: str, bucket: str = "inputs", kind: str = "put") -> dict[str, Any]:
    """An event of S3, as sam makes it, with other keys."""
    (one,) = json.loads((EVENTS / f"s3-{kind}.json").read_text())["Records"]
    return {"Records": [
        one | {"s3": one["s3"] | {"bucket": {"name": bucket},
                                  "object": {"key": urllib.parse.quote_plus(key, safe="/")}}}
        for key in keys
    ]}  # fmt: skip


NAMES = ["a.json", "with space+plus.json", "é/ü ~_.-!*'();:@&=$,?#[]%41.json", "deep/er/a"]


@pytest.mark.parametrize("key", NAMES)
def test_the_answer_is_written_beside_the_object(s3: str, key: str) -> None:
    objects.put("inputs", key, b"[[1, 2]]", "binary/octet-stream")
    answer = make_handler(doubling())(event(key), None)
    assert answer == {"answers": [{"bucket": "inputs", "key": f"{key}.answer.json"}]}
    assert objects.get("inputs", f"{key}.answer.json", 99) == ("application/json", b"[[2,4]]")
    again = make_handler(doubling())(event(f"{key}.answer.json"), None)
    assert again == {"answers": [None]}  # what we wrote does not start us again


def test_the_form_of_an_object_is_that_of_its_name_or_its_type(s3: str) -> None:
    file = io.BytesIO()
    np.save(file, np.array([[1, 2]], "f4"))
    objects.put("inputs", "x.npy", file.getvalue(), "binary/octet-stream")
    objects.put("inputs", "typed", file.getvalue(), "application/x-npy")
    answers = make_handler(doubling())(event("x.npy", "typed"), None)["answers"]
    assert [found["key"] for found in answers] == ["x.npy.answer.npy", "typed.answer.npy"]
    for found in answers:
        form, body = objects.get("inputs", found["key"], 1000)
        assert form == "application/x-npy"
        assert np.load(io.BytesIO(body)).tolist() == [[2, 4]]


def test_answers_may_go_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMDA_RESULTS", "s3://answers/to/")
    objects.put("inputs", "b.answer.json", b"[[1, 2]]", "application/json")
    found = make_handler(doubling())(event("b.answer.json"), None)["answers"]
    assert found == [{"bucket": "answers", "key": "to/b.answer.json.answer.json"}]
    (record,) = json.loads((EVENTS / "sqs-receive-message.json").read_text())["Records"]
    queue = {"Records": [record | {"messageId": "m1", "body": "[[3, 4]]"}]}
    assert make_handler(doubling())(queue, None) == {"batchItemFailures": []}
    assert objects.get("answers", "to/sqs/m1.answer.json", 99)[1] == b"[[6,8]]"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert make_handler(doubling())(queue, None) != {"batchItemFailures": []}


def test_an_object_may_be_told_of_by_eventbridge(s3: str) -> None:
    objects.put("inputs", "c+d.json", b"[[1, 2]]", "application/json")
    told = {"source": "aws.s3", "detail-type": "Object Created",
            "detail": {"bucket": {"name": "inputs"}, "object": {"key": "c+d.json"}}}  # fmt: skip
    where = {"bucket": "inputs", "key": "c+d.json.answer.json"}
    assert make_handler(doubling())(told, None) == where
    with pytest.raises(RequestError, match="expected detail to name a bucket and a key"):
        make_handler(doubling())(told | {"detail": {}}, None)


def test_what_can_not_be_answered(s3: str) -> None:
    objects.put("inputs", "good", b"[[1, 2]]", "application/json")
    objects.put("inputs", "wrong", b"[[1]]", "application/json")
    objects.put("inputs", "large", b" " * 2000 + b"[[1, 2]]", "application/json")
    function = make_handler(doubling(max_bytes=1000))
    with pytest.raises(RequestError, match="expected a list of 2"):
        function(event("wrong", "good"), None)
    assert (
        objects.get("inputs", "good.answer.json", 99)[1] == b"[[2,4]]"
    )  # it was tried all the same
    with pytest.raises(RequestError) as caught:
        function(event("large"), None)
    assert str(caught.value) == (
        f"expected at most 1000 bytes in {s3}/inputs/large, got 2008: send fewer rows"
    )
    assert caught.value.status == 413
    with pytest.raises(client.AwsError) as missing:
        function(event("missing"), None)
    assert f"GET {s3}/inputs/missing failed: status 404" in str(missing.value)
    assert function(event("good", kind="delete"), None) == {"answers": []}
    with pytest.raises(RequestError, match=r"expected Records\[0\].s3 to name a bucket and a key"):
        function({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}, None)


def test_wrong_keys_are_refused_by_the_server(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    with pytest.raises(client.AwsError, match="status 403"):
        objects.get("inputs", "good", 99)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BundleError, match="AWS_SECRET_ACCESS_KEY is not set: expected a key of"):
        objects.get("inputs", "good", 99)


def test_the_emulator_answers_an_object(s3: str, tmp_path: Path) -> None:
    directory = make.dense(tmp_path / "dense", executables=False)
    objects.put("inputs", "rows.json", b"[[0,0,0],[1,2,3]]", "application/json")
    names = {**KEYS, "AWS_ENDPOINT_URL_S3": s3}
    with rie.running(sys.executable, "-m", "serve.aws", directory, **names) as function:
        told = json.loads(function(json.dumps(event("rows.json")).encode()))
    assert told == {"answers": [{"bucket": "inputs", "key": "rows.json.answer.json"}]}
    assert json.loads(objects.get("inputs", "rows.json.answer.json", 99)[1]) == [[1, -1], [5, 4.5]]


def test_a_server_that_is_not_there_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, s3: str
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client.time, "sleep", pauses.append)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{tools.free_port()}")
    with pytest.raises(client.AwsError, match="failed: ConnectionRefusedError .* Check the role"):
        objects.get("inputs", "a", 99)
    assert pauses == [0.1, 0.4]


# Signatures and URLs


def test_the_signature_of_the_documentation() -> None:
    """The case get-vanilla of the suite that AWS publishes for signatures."""
    keys = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
    now = time.strptime("20150830T123600Z", "%Y%m%dT%H%M%SZ")
    url = "https://example.amazonaws.com/"
    sent = signed("GET", url, {}, b"", "service", "us-east-1", keys, now)
    assert sent["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


@pytest.fixture(scope="module")
def botocore() -> Any:
    sys.path.append(str(tools.package(*MOTO)))
    return importlib.import_module("botocore")


@pytest.mark.filterwarnings("ignore")  # of botocore
@given(
    key=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    body=st.binary(max_size=20),
    token=st.none() | st.just("to/ken=="),
    value=st.text("ab c;/", min_size=1),
)
def test_botocore_makes_the_same_signature(
    botocore: Any, key: str, body: bytes, token: str | None, value: str
) -> None:
    auth, request, credentials = (
        importlib.import_module(f"botocore.{name}")
        for name in ("auth", "awsrequest", "credentials")
    )
    now = time.gmtime()
    url = f"http://127.0.0.1:8333/inputs/{urllib.parse.quote(key, safe='/~')}"
    headers = {"content-type": f"a{value}b"}
    ours = signed("PUT", url, headers, body, "s3", "eu-west-1", ("id", "secret", token), now)
    theirs = request.AWSRequest("PUT", url, headers=dict(headers), data=body)
    moment = importlib.import_module("datetime").datetime(*now[:6])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_current_datetime", "utcnow"):
            if hasattr(auth, name):
                patch.setattr(auth, name, lambda *_, **__: moment)
        found = credentials.Credentials("id", "secret", token)
        auth.S3SigV4Auth(found, "s3", "eu-west-1").add_auth(theirs)
    signature = theirs.headers["Authorization"]
    if theirs.headers.get("X-Amz-Content-SHA256") == ours["x-amz-content-sha256"]:
        assert ours["authorization"] == signature
    else:  # over TLS or not, botocore may leave a body unsigned; then the rest must agree
        raise AssertionError(theirs.headers.get("X-Amz-Content-SHA256"))


@pytest.mark.parametrize(
    ("bucket", "region", "expected"),
    [
        ("b", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/a%20/b"),
        ("b.c", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/b.c/a%20/b"),
        ("b", "cn-north-1", "https://b.s3.cn-north-1.amazonaws.com.cn/a%20/b"),
    ],
)
def test_the_url_of_an_object(
    monkeypatch: pytest.MonkeyPatch, bucket: str, region: str, expected: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_REGION", region)
    assert objects.url(bucket, "a /b") == expected


# Queues


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, root = tools.free_port(), str(tools.package(*MOTO))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("moto") / "log"
    with tools.running(command, port, log, {**os.environ, "PYTHONPATH": root}):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("name", ["answers", "answers.fifo"])
def test_answers_may_go_to_a_queue(
    moto: str, botocore: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in KEYS.items():
        monkeypatch.setenv(variable, value)
    session = importlib.import_module("botocore.session").get_session()
    sqs = session.create_client("sqs", "eu-west-1", endpoint_url=moto)
    attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    monkeypatch.setenv("LAMDA_RESULTS", url)
    (record,) = json.loads((EVENTS / "sqs-receive-message.json").read_text())["Records"]
    queue = {"Records": [record | {"messageId": "m1", "body": "[[3, 4]]"}]}
    for _ in range(2):  # what comes twice is answered twice, and alike
        assert make_handler(doubling())(queue, None) == {"batchItemFailures": []}
    asked = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    found = sqs.receive_message(QueueUrl=url, **asked)["Messages"]
    assert {message["Body"] for message in found} == {"[[6,8]]"}
    assert {m["MessageAttributes"]["record"]["StringValue"] for m in found} == {"sqs/m1"}
    assert len(found) == (1 if name.endswith(".fifo") else 2)
    monkeypatch.setenv("LAMDA_RESULTS", f"{url}gone")
    assert make_handler(doubling())(queue, None) == {
        "batchItemFailures": [{"itemIdentifier": "m1"}]
    }


@pytest.mark.parametrize("wrong", ["s3:/out", "s3://", "s3:///a", "queue", "https://x"])
def test_a_place_for_answers_that_is_none(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("LAMDA_RESULTS", wrong)
    monkeypatch.setenv("LAMDA_BUNDLE", "/nowhere")
    with pytest.raises(BundleError) as caught:
        start.load()
    expected = "LAMDA_RESULTS should be s3://BUCKET/PREFIX or the URL of a queue, found "
    assert str(caught.value) == f"{expected}{wrong!r}"
    assert results.Log().accept == "application/json"
