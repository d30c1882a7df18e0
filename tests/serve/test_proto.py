"""The wire format and the compile options: byte for byte what jaxlib writes, or what it reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax._src.lib import xla_client  # pyright: ignore[reportPrivateImportUsage]

from serve.runtime import options, proto

values = st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300))
fields = st.lists(st.tuples(st.integers(1, 2**29 - 1), values), max_size=8)


@given(fields)
def test_a_message_is_read_as_it_was_written(message: list[Any]) -> None:
    assert proto.parse(proto.encode(message)) == message


@given(fields.filter(bool), st.data())
def test_a_message_that_is_cut_is_refused_or_shorter(message: list[Any], data: Any) -> None:
    encoded = proto.encode(message)
    end = data.draw(st.integers(0, len(encoded) - 1))
    try:
        assert proto.parse(encoded[:end]) == message[: len(proto.parse(encoded[:end]))]
    except ValueError as error:
        assert "is cut off" in str(error)


def test_a_negative_number_has_64_bits() -> None:
    assert proto.encode([(1, -1)]) == b"\x08" + b"\xff" * 9 + b"\x01"
    assert proto.parse(proto.encode([(1, -1)])) == [(1, 2**64 - 1)]


@pytest.mark.parametrize(("data", "message"), [
    (b"\x0d\x00\x00\x00\x00", "field 1 has wire type 5, expected 0 or 2"),
    (b"\x0a\x05abc", "field 1 is cut off"),
    (b"\x80" * 11, "a varint is cut off"),
])  # fmt: skip
def test_what_is_no_message(data: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        proto.parse(data)
    assert str(caught.value) == message


def jaxlib(flags: dict[str, str]) -> Any:
    """The options that jaxlib makes for one device."""
    made = xla_client.CompileOptions()
    made.num_replicas = made.num_partitions = 1
    made.env_option_overrides = [*flags.items()]
    return made


def meaning(data: bytes) -> dict[str, Any]:
    """What options say, with overrides by their names."""
    found = dict(field for field in proto.parse(data) if field[0] != options._OVERRIDES)
    build = dict(proto.parse(found.pop(options._BUILD_OPTIONS)))
    overrides = [
        dict(proto.parse(value))
        for number, value in proto.parse(data)
        if number == options._OVERRIDES and isinstance(value, bytes)
    ]
    return {
        "device": build[options._DEVICE],
        "replicas": build[options._REPLICAS],
        "partitions": build[options._PARTITIONS],
        "flags": {each[options._KEY]: each[options._VALUE] for each in overrides},
    }


@pytest.mark.parametrize("flags", [
    {},
    {"xla_cpu_prefer_vector_width": "512"},
    {"xla_cpu_enable_fast_math": "True", "xla_cpu_max_isa": "AVX2", "a" * 200: "ö"},
])  # fmt: skip
def test_options_are_those_of_jaxlib(flags: dict[str, str]) -> None:
    ours, theirs = options.encode(flags), jaxlib(flags).SerializeAsString()
    assert meaning(ours) == meaning(theirs)
    read = xla_client.CompileOptions.ParseFromString(ours)
    assert (read.num_replicas, read.num_partitions) == (1, 1)
    assert sorted(read.env_option_overrides) == sorted(flags.items())
    assert options.encode(dict(reversed(flags.items()))) == ours
