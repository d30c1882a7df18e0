"""A composition of models as a sequence of actions, an action for each part.

Source: https://github.com/apache/openwhisk-composer/blob/master/docs/COMPOSITIONS.md
"""

from __future__ import annotations

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from typing import Any

VERSION = "0.12.0"  # of the composer that compiles the same


def sequence(names: list[str]) -> dict[str, Any]:
    """The composition of actions one after the other, as openwhisk-composer compiles it.

    A name without a package is one of the default package, as for composer itself.
    """
    full = [name if name.startswith("/") else f"/_/{name}" for name in names]
    parts = [{"type": "action", "name": name} for name in full]
    placed = [{**part, "path": f"[{i}]"} for i, part in enumerate(parts)]
    return {
        "composition": {"type": "sequence", "components": placed, "path": ""},
        "ast": {"type": "sequence", "components": parts},
        "version": VERSION,
    }
