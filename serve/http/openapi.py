"""GET /openapi.json: what a handler takes and gives, of its own types, as OpenAPI 3.1.

A schema says what JSON Schema can say. That all leaves agree on a named dimension, and that lists
inside of lists are equally long, it can not: such a request is a 400 that says so.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import os
from sys import float_info

from serve import feedback
from serve.batching import MOST, Batching
from serve.body.forms import JPEG, JSON, MSGPACK, NPY, OCTETS, PNG, TEXT
from serve.body.lists import FLOATS
from serve.http.metrics import CONTENT_TYPE as METRICS
from serve.types import children, show

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from serve.handler import Handler
    from serve.types import Type

    Schema = dict[str, Any]

# What rounds to more than the largest number of the dtype begins here; bfloat16 is rounded by way
# of float32.
BEYOND = {
    "float16": 65520.0,
    "bfloat16": float(2**128 - 2**119 - 2**103),
    "float32": float(2**128 - 2**103),
}
BINARY = {
    MSGPACK: "The same tree; an array is {dtype, shape, data}, or lists.",
    NPY: "One array as numpy saves it.",
    OCTETS: "The leaves one after the other, dense, little-endian; sizes of named dimensions are "
    "parameters of the content type.",
    JPEG: "One image.",
    PNG: "One image.",
}
ERRORS = {
    400: "The request is not a value of the input type; the message says where, and why.",
    405: "The path has no such method.",
    406: "Accept names no form that there is.",
    413: "The request is larger than this server takes.",
    415: "The content type, or the content encoding, is none of those that there are.",
    500: "A bug. The log has it under the name that the message tells.",
    503: "Too much is under way, or the process is not ready. Try again.",
    504: "The time for one request is over.",
}
ADDRESS = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An ETag. Where the answer would have it, the answer is 304, and not computed.",
    "schema": {"type": "string"},
}


def document(handler: Handler) -> Schema:
    """The document, as JSON values."""
    bundle = handler.bundle
    return {
        "openapi": "3.1.0",
        "info": {
            "title": bundle.name,
            "version": bundle.address,
            "summary": f"{show(bundle.input)} -> {show(bundle.output)}",
        },
        "servers": [{"url": "/"}],
        "paths": _paths(handler),
        "components": {
            "schemas": {
                "input": schema(bundle.input, _sides(handler), finite=True),
                "output": schema(bundle.output, _any_side, finite=False),
                "error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                    "additionalProperties": False,
                },
            },
            "responses": {str(status): _error(text) for status, text in ERRORS.items()},
        },
    }  # fmt: skip


def _paths(handler: Handler) -> Schema:
    maybe = {"anyOf": [ADDRESS, {"type": "null"}]}
    any_object = {"type": "object"}
    described = _get("describe", "What the model is, and how to ask it", any_object)
    taking = {"/feedback": {"post": _feedback(handler)}} if os.environ.get(feedback.PLACE) else {}
    return {
        "/": {"get": described, "post": _post(handler)},
        **taking,
        "/who": {"get": _get("who", "The address of the model", ADDRESS)},
        "/pred": {"get": _get("pred", "The version that it came from", maybe)},
        "/openapi.json": {"get": _get("openapi", "This document", any_object)},
        "/healthz": {"get": _get("alive", "Is the process there?", _status(), cached=False)},
        "/readyz": {"get": _get("ready", "Should requests come?", _status(), 503, cached=False)},
        "/metrics": {"get": _metrics()},
    }


def schema(of: Type, side: Callable[[str | int], Schema], finite: bool) -> Schema:
    """The JSON Schema of a type; `side` is what a list along a dimension keeps to."""
    if "array" in of:
        dtype, dims = of["array"]
        found = _number(dtype, finite)
        for dim in reversed(dims):
            found = {"type": "array", "items": found, **side(dim)}
        return found
    parts = [(key, schema(child, side, finite)) for key, child in children(of)]
    if "tuple" in of:
        fixed = {"prefixItems": [part for _, part in parts]} if parts else {}
        return {"type": "array", **fixed, "minItems": len(parts), "maxItems": len(parts)}
    return {
        "type": "object",
        "properties": dict(parts),
        "required": [key for key, _ in parts],
        "additionalProperties": False,
    }


def _number(dtype: str, finite: bool) -> Schema:
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype in FLOATS:
        if finite and dtype in BEYOND:
            bound = BEYOND[dtype]
            return {"type": "number", "exclusiveMinimum": -bound, "exclusiveMaximum": bound}
        if finite:
            return {"type": "number", "minimum": -float_info.max, "maximum": float_info.max}
        return {"type": ["number", "null"], "description": "null where it is not finite"}
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return {"type": "integer", "minimum": low, "maximum": high - 1}


def _sides(handler: Handler) -> Callable[[str | int], Schema]:
    """How long a list may be along a dimension of the input."""
    sizes, batching = handler.bundle.sizes, Batching(handler.bundle, handler.engine)
    scanned = (getattr(handler.bundle, "stream", None) or {}).get("scan")

    def side(dim: str | int) -> Schema:
        if isinstance(dim, int):
            return {"minItems": dim, "maxItems": dim}
        if dim in batching.exact and dim != scanned:
            of = sizes[dim]
            more = {"anyOf": [{"minItems": n, "maxItems": n} for n in of]} if len(of) > 1 else {}
            return {"minItems": of[0], "maxItems": of[-1], "title": dim, **more}
        most = MOST if dim in (batching.batch, scanned) else sizes[dim][-1]
        return {"minItems": 1, "maxItems": most, "title": dim}

    return side


def _any_side(dim: str | int) -> Schema:
    fixed = {"minItems": dim, "maxItems": dim}
    return fixed if isinstance(dim, int) else {"title": dim}


def _feedback(handler: Handler) -> Schema:
    """What POST /feedback takes, where it takes any."""
    numbers = {"type": ["number", "boolean", "array"]}
    label = {"description": "A number, or a list of one for each row of the request.", **numbers}
    both = {"request": _request(handler), "label": label}
    body = {
        "type": "object", "properties": both, "required": [*both], "additionalProperties": False,
    }  # fmt: skip
    told = {"type": "object", "properties": {"record": ADDRESS}, "required": ["record"]}
    kept = {"description": "The record is kept.", "content": {JSON: {"schema": told}}}
    return {
        "operationId": "feedback",
        "summary": "Keep a request with its label",
        "requestBody": {
            "required": True, "content": {JSON: {"schema": body}, MSGPACK: _binary(MSGPACK)},
        },
        "responses": {"202": kept, **_refs(status for status in ERRORS if status != 406)},
    }  # fmt: skip


def _request(handler: Handler) -> Schema:
    """The value that a request is: of the input type, or what is short for one."""
    input: Schema = {"$ref": "#/components/schemas/input"}
    for key, form in (
        ("text", {"type": "string"}),
        ("image", {"type": "string", "format": "byte"}),
    ):
        if getattr(handler.bundle, key, None) is not None:
            several = {"type": "array", "items": form, "minItems": 1, "maxItems": MOST}
            also = {
                "type": "object", "properties": {key: {"anyOf": [form, several]}},
                "required": [key], "additionalProperties": False,
            }  # fmt: skip
            input = {"anyOf": [*input.get("anyOf", [input]), also]}
    return input


def _post(handler: Handler) -> Schema:
    taken = {form: _binary(form) for form in handler.requests}
    taken[JSON] = {"schema": _request(handler)}
    if handler.bundle.example is not None:
        taken[JSON]["example"] = handler.bundle.example
    given = {form: _binary(form) for form in handler.answers}
    given[JSON] = {"schema": {"$ref": "#/components/schemas/output"}}
    answer = {"description": "The value of the model.", "content": given, "headers": _headers()}
    return {
        "operationId": "answer",
        "summary": "The model at a value",
        "parameters": [IF_NONE_MATCH],
        "requestBody": {"required": True, "content": taken},
        "responses": {"200": answer, "304": _unchanged(), **_refs(ERRORS)},
    }


def _binary(form: str) -> Schema:
    if form == TEXT:
        return {"schema": {"type": "string", "minLength": 1}}
    return {"schema": {"description": BINARY.get(form, "")}}


def _get(name: str, summary: str, of: Schema, *statuses: int, cached: bool = True) -> Schema:
    answer: Schema = {"description": summary, "content": {JSON: {"schema": of}}}
    responses = {"200": answer, **_refs((*statuses, 405))}
    if not cached:
        return {"operationId": name, "summary": summary, "responses": responses}
    answer["headers"] = _headers()
    responses["304"] = _unchanged()
    return {
        "operationId": name, "summary": summary, "parameters": [IF_NONE_MATCH],
        "responses": responses,
    }  # fmt: skip


def _metrics() -> Schema:
    content = {METRICS.partition(";")[0]: {"schema": {"type": "string"}}}
    answer = {"description": "Counters, as Prometheus reads them.", "content": content}
    return {"operationId": "metrics", "responses": {"200": answer, **_refs((405,))}}


def _status() -> Schema:
    text = {"type": "string"}
    return {"type": "object", "properties": {"status": text}, "required": ["status"]}


def _headers() -> Schema:
    address = {"description": "The address of the model.", "schema": ADDRESS}
    tag = {"description": "Decided by the address and the request.", "schema": {"type": "string"}}
    return {"lamda-address": address, "etag": tag}


def _unchanged() -> Schema:
    return {"description": "The answer is the one that If-None-Match names."}


def _error(text: str) -> Schema:
    return {
        "description": text,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/error"}}},
    }


def _refs(statuses: Iterable[int]) -> Schema:
    return {str(n): {"$ref": f"#/components/responses/{n}"} for n in statuses}
