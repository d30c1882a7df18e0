"""Queues, streams, topics and EventBridge, beside the batch processors of Powertools for AWS."""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tools
from hypothesis import given
from hypothesis import strategies as st
from memory import ADDRESS, doubling

from serve.aws import make_handler
from serve.aws.attributes import plain
from serve.errors import RequestError

EVENTS = Path(__file__).parent / "events"
GOOD, WRONG, BUG = "[[1, 2]]", "[[1]]", "[[666, 0]]"


def breaking() -> Any:
    """The doubling, with a bug at 666."""
    made = doubling()
    engine = made.engine

    def sometimes(index: int, inputs: list[bytes]) -> Any:
        if np.frombuffer(inputs[0], "f4")[0] == 666:
            raise ZeroDivisionError("a bug")
        return engine(index, inputs)

    return type(made)(made.bundle, sometimes)


function = make_handler(breaking())


def sample(kind: str) -> dict[str, Any]:
    """An event that `sam local generate-event` made."""
    return json.loads((EVENTS / f"{kind}.json").read_text())


def messages(*bodies: str, fifo: bool = False) -> dict[str, Any]:
    """An event of SQS."""
    (one,) = sample("sqs-receive-message")["Records"]
    one["eventSourceARN"] += ".fifo" * fifo
    one["attributes"] |= {"MessageGroupId": "g"} if fifo else {}
    return {"Records": [one | {"messageId": f"m{i}", "body": b} for i, b in enumerate(bodies)]}


def data(*bodies: str | bytes) -> dict[str, Any]:
    """An event of Kinesis."""
    (one,) = sample("kinesis-get-records")["Records"]
    coded = [base64.b64encode(b.encode() if isinstance(b, str) else b).decode() for b in bodies]
    return {"Records": [
        one | {"kinesis": one["kinesis"] | {"data": b, "sequenceNumber": f"n{i}"}}
        for i, b in enumerate(coded)
    ]}  # fmt: skip


def images(*items: Any) -> dict[str, Any]:
    """An event of DynamoDB."""
    one = sample("dynamodb-update")["Records"][0]
    return {"Records": [
        one | {"dynamodb": {"Keys": {}, "SequenceNumber": f"n{i}", "NewImage": item}}
        for i, item in enumerate(items)
    ]}  # fmt: skip


def failed(answer: Any) -> list[str]:
    """The names of the records that failed."""
    assert list(answer) == ["batchItemFailures"]
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_each_message_of_a_queue_fails_alone(capsys: pytest.CaptureFixture[str]) -> None:
    event = messages(GOOD, WRONG, "[[3, 4]]", BUG, "no JSON", "")
    assert failed(function(event, None)) == ["m1", "m3", "m4", "m5"]
    out, err = capsys.readouterr()
    assert out == (
        '{"record": "sqs/m0", "answer": [[2,4]]}\n{"record": "sqs/m2", "answer": [[6,8]]}\n'
    )
    assert (
        "serve: sqs/m1 failed: input[0]: expected a list of 2 for float32[b, 2], got a list of 1\n"
    ) in err
    assert "ZeroDivisionError: a bug" in err
    assert "serve: sqs/m3 failed: internal error, request " in err


def test_a_message_may_say_its_form() -> None:
    event = messages(GOOD, GOOD)
    said = {"stringValue": "text/csv", "dataType": "String"}
    event["Records"][1]["messageAttributes"] = {"content-type": said}
    assert failed(function(event, None)) == ["m1"]


def test_a_queue_in_order_stops_at_the_first_failure() -> None:
    assert failed(function(messages(GOOD, WRONG, GOOD, GOOD, fifo=True), None)) == [
        "m1",
        "m2",
        "m3",
    ]


@pytest.mark.parametrize("event", [data, images])
def test_a_stream_goes_on_from_its_first_failure(
    event: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = (lambda x: {"request": {"S": x}}) if event is images else str
    assert failed(function(event(*map(wrapped, (GOOD, GOOD))), None)) == []
    assert failed(function(event(*map(wrapped, (GOOD, WRONG, GOOD, BUG))), None)) == ["n1"]
    source = "kinesis" if event is data else "dynamodb"
    told = [json.loads(line)["record"] for line in capsys.readouterr().out.splitlines()]
    assert told == [f"{source}/n0", f"{source}/n1", f"{source}/n0"]


def test_data_that_is_not_base64_fails() -> None:
    event = data(GOOD, GOOD)
    event["Records"][1]["kinesis"]["data"] = "[[1, 2]]"
    assert failed(function(event, None)) == ["n1"]


def test_an_item_is_a_request_or_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"L": [{"N": "1"}, {"N": "2.5"}]}
    encoded = base64.b64encode(GOOD.encode()).decode()
    event = images(
        {"request": {"L": [row]}, "id": {"S": "a"}}, {"request": {"S": GOOD}},
        {"request": {"B": encoded}}, None, {"request": {"B": "*"}},
    )  # fmt: skip
    assert failed(function(event, None)) == ["n4"]  # what was removed asks nothing
    told = [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]
    assert told == [[[2, 5]], [[2, 4]], [[2, 4]]]
    assert failed(function(images({"id": {"S": "a"}}), None)) == ["n0"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"S": "a"}, "a"), ({"N": "-1.5e3"}, -1500), ({"N": "7"}, 7), ({"BOOL": True}, True),
        ({"NULL": True}, None), ({"B": "AA=="}, "AA=="), ({"SS": ["a", "b"]}, ["a", "b"]),
        ({"NS": ["1", "2"]}, [1, 2]), ({"BS": ["AA=="]}, ["AA=="]),
        ({"M": {"a": {"L": [{"N": "1"}, {"M": {}}]}}}, {"a": [1, {}]}),
    ],
)  # fmt: skip
def test_attributes_of_dynamodb(attribute: Any, value: Any) -> None:
    assert plain(attribute) == value


@pytest.mark.parametrize("wrong", [{}, {"X": 1}, {"N": "a"}, {"L": 5}, {"M": []}, 7, None, "S",
                                   {"S": "a", "N": "1"}, {"L": [1]}])  # fmt: skip
def test_what_is_no_attribute(wrong: Any) -> None:
    with pytest.raises(RequestError) as caught:
        plain(wrong)
    assert str(caught.value) == 'expected an attribute of DynamoDB, such as {"N": "1"}'


def test_the_set_of_attributes_is_that_of_boto3() -> None:
    sys.path.append(str(tools.package("moto[server]", "5.2.5")))
    types = importlib.import_module("boto3.dynamodb.types")
    item = {"a": [1, {"b": None, "c": "d"}, True], "e": {"f": []}, "g": {"1", "2"}}
    typed = types.TypeSerializer().serialize(item)
    found = plain(typed)
    assert found | {"g": set(found["g"])} == item


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"Records": [{"eventSource": "aws:sqs", "body": GOOD}]},
         "expected messageId to be text, which names a record that failed"),
        ({"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "AA=="}}]},
         "expected kinesis.sequenceNumber to be text, which names a record that failed"),
        ({"Records": [{"eventSource": "aws:dynamodb", "dynamodb": 5}]},
         "expected dynamodb.SequenceNumber to be text, which names a record that failed"),
        ({"Records": [{"eventSource": "aws:ses"}]},
         "expected records of aws:sqs, aws:kinesis, aws:dynamodb, aws:sns or aws:s3, got aws:ses"),
        ({"Records": [{"EventSource": "aws:sns", "Sns": {}}]},
         "expected Sns.Message in the record"),
    ],
)  # fmt: skip
def test_records_without_what_they_need_are_an_error(event: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        function(event, None)
    assert str(caught.value) == message


def test_records_that_are_none_are_a_request() -> None:
    for event in ({"Records": []}, {"Records": [1]}, {"Records": [{}]}, {"Records": 5}):
        with pytest.raises(RequestError, match="expected a list, as float32"):
            function(event, None)


class Clock:
    """A context with little time left, and an engine that takes some of it."""

    def __init__(self, left: float) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> float:
        return self.left


def test_what_there_is_no_time_for_comes_again(capsys: pytest.CaptureFixture[str]) -> None:
    clock, made = Clock(1000), doubling()
    engine = made.engine

    def slow(index: int, inputs: list[bytes]) -> Any:
        from time import sleep

        sleep(0.1)
        clock.left -= 400
        return engine(index, inputs)

    timed = make_handler(type(made)(made.bundle, slow))
    answer = timed(messages(GOOD, GOOD, GOOD, GOOD), clock)
    assert failed(answer) == ["m2", "m3"] or failed(answer) == ["m1", "m2", "m3"]
    err = capsys.readouterr().err
    assert "sqs/m3 failed: there is no time left for it: expected a longer timeout" in err
    clock.left = 500
    assert failed(timed(data(GOOD, GOOD), clock)) == ["n1"]  # the first is always tried


def test_a_topic() -> None:
    event = sample("sns-notification")
    event["Records"][0]["Sns"]["Message"] = GOOD
    assert function(event, None) == {"answers": [[[2, 4]]]}
    with pytest.raises(RequestError):
        function(sample("sns-notification"), None)


def test_eventbridge() -> None:
    assert function(sample("cloudwatch-scheduled-event"), None) == {"status": "ok"}
    custom = sample("cloudwatch-scheduled-event") | {"source": "shop", "detail-type": "Order"}
    assert function(custom | {"detail": [[1, 2]]}, None) == [[2, 4]]
    with pytest.raises(RequestError, match="an object with no keys"):
        function(custom, None)


def test_step_functions_and_messages() -> None:
    assert function([[1, 2]], None) == [[2, 4]]  # a state's input is the request
    assert function("who", None) == ADDRESS
    assert function("pred", None) == "sha256:" + "b2" * 32
    with pytest.raises(RequestError):
        function("what", None)
    with pytest.raises(RequestError, match="an object with"):
        function(sample("stepfunctions-error"), None)


@pytest.mark.parametrize("kind", ["sqs-receive-message", "kinesis-get-records", "dynamodb-update"])
def test_the_records_that_sam_makes_are_no_requests_and_fail(kind: str) -> None:
    event = sample(kind)
    first = event["Records"][0]
    name = first.get("messageId") or first.get("kinesis", {}).get("sequenceNumber")
    name = name or first["dynamodb"]["SequenceNumber"]
    assert failed(function(event, None)) == [name]


# Powertools

KINDS = {"sqs": messages, "fifo": lambda *b: messages(*b, fifo=True), "kinesis": data,
         "dynamodb": lambda *b: images(*({"request": {"S": x}} for x in b))}  # fmt: skip


@pytest.fixture(scope="module")
def powertools() -> Any:
    os.environ["POWERTOOLS_DEV"] = "0"
    sys.path.append(str(tools.package("aws-lambda-powertools", "3.37.0")))
    return importlib.import_module("aws_lambda_powertools.utilities.batch")


def expected(powertools: Any, kind: str, event: Any) -> list[str]:
    """The failures that the processors of Powertools find."""
    types = powertools.EventType
    if kind == "fifo":
        processor = powertools.SqsFifoPartialProcessor()
        processor.raise_on_entire_batch_failure = False
    else:
        by = {
            "sqs": types.SQS,
            "kinesis": types.KinesisDataStreams,
            "dynamodb": types.DynamoDBStreams,
        }
        processor = powertools.BatchProcessor(by[kind], raise_on_entire_batch_failure=False)

    def one(record: Any) -> None:
        if kind == "dynamodb":
            body = record.dynamodb.new_image["request"]
        else:
            body = record.kinesis.data_as_text() if kind == "kinesis" else record.body
        breaking()(body.encode())

    answer = powertools.process_partial_response(event, one, processor, context=None)
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # of Powertools
@given(bodies=st.lists(st.sampled_from([GOOD, WRONG, BUG, "x"]), min_size=1, max_size=10))
def test_powertools_finds_the_same_failures(powertools: Any, kind: str, bodies: list[str]) -> None:
    event = KINDS[kind](*bodies)
    theirs = expected(powertools, kind, json.loads(json.dumps(event)))
    if kind in ("kinesis", "dynamodb"):
        theirs = theirs[:1]  # it tries all; Lambda goes on from the first of them either way
    assert failed(function(event, None)) == theirs
