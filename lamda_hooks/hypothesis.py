"""What Hypothesis loads when it is imported: profiles, and a strategy for ``lm.Model``."""

import sys
from typing import Any


def register() -> None:
    """The entry point of Hypothesis: profiles now; models now, or when lamda is imported."""
    profiles()
    if hasattr(sys.modules.get("lamda"), "Model"):
        models()


def profiles() -> None:
    """``lamda`` (100 examples), ``lamda-fast`` (20), ``lamda-deep`` (1000).

    An example may take as long as it takes, and a broken law prints the blob that reproduces it.
    """
    from hypothesis import HealthCheck, settings

    for name, examples in (("lamda", 100), ("lamda-fast", 20), ("lamda-deep", 1000)):
        settings.register_profile(
            name,
            max_examples=examples,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        )


def models() -> None:
    """``from_type(lm.Model)`` is ``lamda.testing.models()``, which is loaded when it is drawn."""
    from hypothesis import strategies

    from lamda.model import Model

    strategies.register_type_strategy(Model, _models)


def _models(_: Any) -> Any:
    from lamda.testing.strategies import models

    return models()
