"""Apache OpenWhisk, by its tool wsk: a zip for its Python runtime, or an image."""

from lamda.compile import limits
from lamda.deploy import container
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way

CREATE = (
    "wsk action update {name} %s --web raw --memory {memory} --timeout {milliseconds} "
    "--concurrency 1"
)


def _zip(function: Function, folder: Folder) -> None:
    main = folder.text("openwhisk/__main__.py.tmpl").encode()
    path = folder.zip("action.zip", function.contents.files | {"__main__.py": main})
    limits.most(
        "archive", path.stat().st_size, "openwhisk", "the zip has", "bytes",
        "Make an image with container=True.",
    )  # fmt: skip


def _image(function: Function, folder: Folder) -> None:
    command = ("python", "-m", "serve.openwhisk", container.BUNDLE)
    container.write(function, folder, command=command, extras=())


WAYS = (
    Way(_zip, (CREATE % "{out}/action.zip --kind python:3",), "openwhisk", memory=512),
    Way(_image, (*container.BUILD, CREATE % "--docker {image}"), "openwhisk-image", memory=512),
)
