"""Golden addresses: committed beside a test, compared at every run, written by request."""

import json
from pathlib import Path
from typing import Any

import pytest

NAME = "golden_addresses.json"


class Golden:
    """``golden_address(name, model)`` fails where the address is not the committed one."""

    def __init__(self, file: Path, write: bool) -> None:
        self._file = file
        self._write = write

    def __call__(self, name: str, model: Any) -> None:
        """Compare the address of a model with the one that is kept by this name; or keep it."""
        __tracebackhide__ = True
        from lamda import errors
        from lamda.address import VERSION

        told, given = self._read(VERSION), model.address
        wanted = told["addresses"].get(name)
        if wanted == given and told["version"] == VERSION:
            return
        if self._write:
            self._put(told, VERSION, name, given)
            return
        text = errors.GOLDEN_MISSING if wanted is None else errors.GOLDEN_CHANGED
        if told["version"] != VERSION:
            text = errors.GOLDEN_VERSION
        pytest.fail(
            text.format(
                name=name, wanted=wanted, given=given, file=self._file, at=told["version"],
                version=VERSION,
            ),
            pytrace=False,
        )  # fmt: skip

    def _read(self, version: int) -> dict[str, Any]:
        if not self._file.exists():
            return {"version": version, "addresses": {}}
        return json.loads(self._file.read_text())

    def _put(self, told: dict[str, Any], version: int, name: str, address: str) -> None:
        kept = told["addresses"] if told["version"] == version else {}
        text = json.dumps({"version": version, "addresses": kept | {name: address}}, indent=2)
        self._file.write_text(text + "\n")
