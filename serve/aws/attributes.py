"""Items of DynamoDB as JSON: `plain({"L": [{"N": "1"}]})` is `[1]`.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

import json

from serve.errors import RequestError

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EXPECTED = 'expected an attribute of DynamoDB, such as {"N": "1"}'


def plain(value: Any) -> Any:
    """What an attribute says; bytes stay in base64.

    Raises:
        RequestError: it is none, or deeper than Python goes.
    """
    try:
        return _plain(value)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise RequestError(EXPECTED) from None


def _plain(value: Any) -> Any:
    ((kind, content),) = value.items()
    return KINDS[kind](content)


def _number(text: str) -> Any:
    return json.loads(text)


def _set(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: list(map(convert, values))


KINDS: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "N": _number,
    "B": str,
    "BOOL": bool,
    "NULL": lambda _: None,
    "L": _set(_plain),
    "M": lambda items: {name: _plain(value) for name, value in items.items()},
    "SS": _set(str),
    "NS": _set(_number),
    "BS": _set(str),
}
