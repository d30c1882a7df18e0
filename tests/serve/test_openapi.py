"""GET /openapi.json: a valid document, and true of what the server does.

$FUZZ is how many requests are made of each operation; 30 where it is not set.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tools
from hypothesis import given
from hypothesis import strategies as st
from memory import ADDRESS, Bundle, handler
from streams import scanning
from test_http import serving
from test_image import seeing

from serve.handler import Handler
from serve.http import respond
from serve.http.openapi import document

FUZZ = os.environ.get("FUZZ", "30")
# Of binary forms a schema can say nothing, and of lists in lists not that they are equally long:
# what it allows may still be refused, by a 400 that is in the document.
UNSAYABLE = ("--exclude-checks", "positive_data_acceptance")


def typed(name: str, *dims: int | str) -> dict[str, Any]:
    return {"array": [name, list(dims)]}


def reading() -> Handler:
    of = {"dict": {"ids": typed("int32", "b", "t"), "mask": typed("bool", "b", "t")}}
    out = {"tuple": [typed("float64", "b"), {"tuple": []}, typed("uint8", "b", 2)]}
    bundle = Bundle(of, out, {"b": [1, 2], "t": [2, 4]}, example={"ids": [[1]], "mask": [[True]]})

    def ratio(ids: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        with np.errstate(all="ignore"):  # where no token is real the answer is null
            return [(ids * mask).sum(1) / mask.sum(1), np.zeros((len(ids), 2), "uint8")]

    return handler(bundle, ratio, max_bytes=10_000)


def tool(folder: Path, name: str, version: str, module: str, *arguments: str) -> str:
    """What a program of a package says; it must end well."""
    path = str(tools.package(name, version))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | {"PYTHONPATH": path, "NO_COLOR": "1"},
        cwd=folder,  # it leaves files
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def named() -> Handler:
    """The same, but for the tuple: schemathesis rewrites those of answers to what is no schema."""
    function = reading()
    first, _, last = function.bundle.output["tuple"]
    function.bundle.output = {"dict": {"ratio": first, "zeros": last}}
    return Handler(function.bundle, function.engine, max_bytes=10_000)


def halving() -> Handler:
    two = typed("float32", "b", 2)
    bundle = Bundle(two, two, {"b": [1, 4]}, example=[[1.0, 2.0]])
    return handler(bundle, lambda x: [x / 2])


def scalar() -> Handler:
    return handler(Bundle(typed("bfloat16"), typed("float16")), lambda x: [x.astype("float16")])


def pictures() -> Handler:
    return seeing(typed("uint8", "b", 2, 2, 3), mean=0, std=1)


MODELS = [halving, reading, scanning, scalar, pictures]


@pytest.mark.parametrize("make", MODELS)
def test_the_document_is_valid(make: Any, tmp_path: Path) -> None:
    function = make()
    status, headers, body = respond(function, "GET", "/openapi.json", {}, b"")
    assert (status, headers["content-type"]) == (200, "application/json")
    (tmp_path / "openapi.json").write_bytes(body)
    place = str(tmp_path / "openapi.json")
    said = tool(tmp_path, "openapi-spec-validator", "0.9.0", "openapi_spec_validator", place)
    assert said.endswith(": OK\n")
    told = json.loads(body)
    assert told["info"]["version"] == ADDRESS
    taken = told["paths"]["/"]["post"]["requestBody"]["content"]
    assert list(taken) == function.describe()["content_types"]["request"]


def test_dimensions_dtypes_and_sizes_are_in_the_schema() -> None:
    schemas = document(reading())["components"]["schemas"]
    ids = schemas["input"]["properties"]["ids"]
    assert (ids["title"], ids["minItems"], ids["maxItems"]) == ("b", 1, 65536)
    inner = ids["items"]
    assert (inner["title"], inner["minItems"], inner["maxItems"]) == ("t", 2, 4)
    assert inner["anyOf"] == [{"minItems": n, "maxItems": n} for n in (2, 4)]  # it is not padded
    assert inner["items"] == {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    first, empty, last = schemas["output"]["prefixItems"]
    assert first["items"]["type"] == ["number", "null"]
    assert (empty["minItems"], empty["maxItems"]) == (0, 0)
    assert last["items"]["items"] == {"type": "integer", "minimum": 0, "maximum": 255}


def test_a_tuple_is_what_its_schema_says() -> None:
    sys.path.append(str(tools.package("openapi-spec-validator", "0.9.0")))
    from jsonschema import Draft202012Validator

    function = reading()
    schemas = document(function)["components"]["schemas"]
    body = b'{"ids": [[1, 2], [3, 4]], "mask": [[true, true], [false, false]]}'
    answer = json.loads(function(body))
    assert answer[0] == [1.5, None]
    taken, given = (Draft202012Validator(schemas[name]) for name in ("input", "output"))
    taken.validate(json.loads(body))
    given.validate(answer)
    for wrong in ([*answer, 1], answer[:2], [answer[0], [1], answer[2]], [["1"], [], [[0, 0]]]):
        assert not given.is_valid(wrong)
    for wrong in ({"ids": [[1, 2]]}, {"ids": [[1, 2, 3]], "mask": [[True] * 3]}, {"ids": 1}):
        assert not taken.is_valid(wrong)


@given(st.sampled_from(["float16", "bfloat16", "float32", "float64"]), st.booleans())
def test_the_largest_number_is_taken_and_its_neighbour_is_not(name: str, low: bool) -> None:
    one = typed(name)
    function = handler(Bundle(one, one), lambda x: [x])
    bounds = document(function)["components"]["schemas"]["input"]
    if name == "float64":
        assert function(json.dumps(bounds["minimum" if low else "maximum"]).encode())
        return
    beyond = bounds["exclusiveMinimum" if low else "exclusiveMaximum"]
    assert respond(function, "POST", "/", {}, json.dumps(beyond).encode())[0] == 400
    assert function(json.dumps(math.nextafter(beyond, 0)).encode())


@pytest.mark.parametrize("make", [halving, named])
def test_schemathesis_finds_nothing(make: Any, tmp_path: Path) -> None:
    with serving(make()) as url:
        run = ("run", f"{url}/openapi.json", "--max-examples", FUZZ, *UNSAYABLE)
        tool(tmp_path, "schemathesis", "4.32.5", "schemathesis.cli", *run)


def test_all_json_that_the_schema_allows_is_taken(tmp_path: Path) -> None:
    function = halving()
    told = document(function)
    content = told["paths"]["/"]["post"]["requestBody"]["content"]
    for form in list(content)[1:]:
        del content[form]
    (tmp_path / "openapi.json").write_text(json.dumps(told))
    with serving(function) as url:
        run = ("run", str(tmp_path / "openapi.json"), "--url", url, "--max-examples", FUZZ)
        tool(tmp_path, "schemathesis", "4.32.5", "schemathesis.cli", *run)
