"""A bundle on Ray Serve, for those who outgrow one machine: `serve run serve.ray:app bundle=DIR`.

One deployment, `Model`, answers HTTP as `serve.http` does; with several bundles, `app` with
`parts=A,B`, each is a deployment of its own with its own replicas, and a deployment `Composition`
hands the answer of each to the next.

Source: https://docs.ray.io/en/latest/serve/app-builder-guide.html
"""

from __future__ import annotations

import os

from serve.errors import BundleError
from serve.ray.composition import Composition
from serve.ray.model import Model

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["Composition", "Model", "app", "composition"]


def app(args: Mapping[str, Any]) -> Any:
    """The application of Ray Serve that answers by a bundle, or by a composition of them.

    `bundle` is a directory, LAMDA_BUNDLE where it is left out; `parts` are several, in the order in
    which data goes through them, in a list or joined by commas. `options` are those of a
    deployment, such as `num_replicas` or `autoscaling_config`, for `Model` or for each part.

    Raises:
        BundleError: neither is said.
    """
    options = dict(args.get("options") or {})
    if parts := args.get("parts"):
        directories = parts.split(",") if isinstance(parts, str) else parts
        return composition([each for each in directories if each], options)
    directory = args.get("bundle") or os.environ.get("LAMDA_BUNDLE")
    if not directory:
        raise BundleError("expected bundle=DIR, parts=DIR,DIR or LAMDA_BUNDLE: a bundle to serve")
    return _deployment(Model, "Model", options).bind(directory)


def composition(directories: list[str], options: Mapping[str, Any] | None = None) -> Any:
    """The application with a deployment for each part, `Part0` first."""
    parts = [
        _deployment(Model, f"Part{i}", options or {}).bind(directory)
        for i, directory in enumerate(directories)
    ]
    if not parts:
        raise BundleError("expected one part or more: parts=DIR,DIR")
    return _deployment(Composition, "Composition", {}).bind(parts)


def _deployment(of: type, name: str, options: Mapping[str, Any]) -> Any:
    from ray import serve  # pyright: ignore[reportAttributeAccessIssue]

    return serve.deployment(of).options(name=name, **options)
