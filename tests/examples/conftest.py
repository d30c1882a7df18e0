"""What the tests of examples share: their bundle, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import serve
from serve.handler import Handler


@pytest.fixture(scope="module")
def handler(bundle: Path) -> Iterator[Handler]:
    """The handler of the bundle that a module makes."""
    handler = serve.load(bundle)
    yield handler
    handler.engine.close()
