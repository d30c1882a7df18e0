"""`stream(lines) -> answers`: a loop of a step, each answer as soon as its part is there.

A scan takes a state and elements, and gives results; an iteration takes a state, and gives the
states that follow it. Nothing is kept between requests: the state comes with the first line and
goes back with the last, so any instance can go on where another one stopped.

Read in this order: `scan` and `iterate` (what is answered), `frames` (how a body becomes lines),
`talk` (the two together), `http` (as they come).
"""

from __future__ import annotations

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

    from serve.batching import Engine
    from serve.stream.iterate import Iterate
    from serve.stream.scan import Scan


def of(bundle: Any, engine: Engine) -> Scan | Iterate:
    """How the results of a bundle that has a stream are streamed."""
    if "scan" in bundle.stream:
        from serve.stream.scan import Scan

        return Scan(bundle, engine)
    from serve.stream.iterate import Iterate

    return Iterate(bundle, engine)
