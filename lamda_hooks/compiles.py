"""Counting what XLA compiles, by the event that JAX reports for it."""

from typing import Any, Literal

import pytest

EVENT = "/jax/core/compile/backend_compile_duration"


class Compiles:
    """The names of what was compiled in this process, since it listens."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._listening = False

    def __len__(self) -> int:
        return len(self.names)

    def listen(self) -> None:
        """Listen from now on. It imports JAX."""
        if not self._listening:
            from jax import monitoring

            monitoring.register_event_duration_secs_listener(self._hear)
            self._listening = True

    def stop(self) -> None:
        """Listen no longer."""
        if self._listening:
            from jax import monitoring

            monitoring.unregister_event_duration_listener(self._hear)
            self._listening = False

    def _hear(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        if event == EVENT:
            self.names.append(str(kwargs.get("fun_name", "something without a name")))


class NoRecompile:
    """``with no_recompile: ...`` fails where XLA compiles; unused, it guards the whole test."""

    def __init__(self, compiles: Compiles) -> None:
        compiles.listen()
        self._compiles = compiles
        self._before = len(compiles)
        self.used = False

    def __enter__(self) -> "NoRecompile":
        self.used = True
        self._before = len(self._compiles)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> Literal[False]:
        if kind is None:
            self.require()
        return False

    def require(self) -> None:
        """Fails if anything was compiled since."""
        __tracebackhide__ = True
        new = self._compiles.names[self._before :]
        if new:
            from lamda import errors

            pytest.fail(errors.RECOMPILED.format(names=", ".join(new)), pytrace=False)
