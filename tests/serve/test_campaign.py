"""The measure of the safety campaign: it sees what is kept, and what is not it lets pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import campaign
import pytest
from hypothesis import strategies as st

BODIES = st.binary(min_size=1000, max_size=1000)


def keeping() -> Callable[[bytes], int]:
    kept: list[bytes] = []

    def answer(body: bytes) -> int:
        kept.append(body)
        return 200

    return answer


def forgetting() -> Callable[[bytes], int]:
    return lambda body: 200 if body * 1000 else 400


def failing() -> Callable[[bytes], int]:
    return lambda body: 200 // len(body[1000:])


def nothing() -> None:
    """Every request here is as valid as the last."""


def test_what_is_kept_of_each_request_shows() -> None:
    with campaign.Apart(keeping) as apart, pytest.raises(AssertionError, match="grown by 1"):
        campaign.run(apart, nothing, apart, BODIES)


def test_what_is_forgotten_does_not() -> None:
    with campaign.Apart(forgetting) as apart:
        report = campaign.run(apart, nothing, apart, BODIES)
    assert report.statuses == {200: report.requests}


def test_a_crash_apart_is_one_here() -> None:
    with campaign.Apart(failing) as apart, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        campaign.run(partial(apart), nothing, apart, BODIES)
