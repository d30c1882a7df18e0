"""A container image: a Dockerfile, and beside it what it copies."""

import json

from lamda.deploy.contents import requirements
from lamda.deploy.folder import IGNORED, Folder
from lamda.deploy.function import Function

BUILD = ("docker build -t {image} {out}", "docker push {image}")
BUNDLE = "/app/bundle"
SERVE = ("python", "-m", "serve", BUNDLE, "--host", "0.0.0.0", "--port", "8080")
EVENTS = ("python", "-m", "serve.knative", BUNDLE)
"""The same, and events of the form CloudEvents."""


def write(
    function: Function, folder: Folder, *, command: tuple[str, ...] = SERVE,
    extras: tuple[str, ...] = ("uvicorn",), bundle: bool = True,
) -> None:  # fmt: skip
    """An image of Python and the function, that runs a command and listens at port 8080.

    Without ``bundle``, the platform brings the bundle itself. ``extras`` are packages that pip
    installs in the image, of the versions that are installed here.
    """
    parts = function.contents
    folder.place(parts.with_pip if bundle else parts.runtime | parts.plugin, "app")
    folder.write("requirements.txt", requirements(function.bundle, *extras))
    folder.write(".dockerignore", IGNORED)
    folder.render("container/Dockerfile", command=json.dumps(command))
