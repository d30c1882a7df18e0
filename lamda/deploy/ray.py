"""Ray Serve: the function, and the config that its command ``serve run`` takes."""

from lamda.deploy.contents import requirements
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way

LIBRARY = "ray[serve]>=2.60,<3\n"


def _write(function: Function, folder: Folder) -> None:
    folder.place(function.contents.with_pip, "app")
    folder.write("requirements.txt", LIBRARY + requirements(function.bundle))
    folder.render("ray/serve_config.yaml", memory=str(function.memory << 20))


WAYS = (
    Way(
        _write,
        (
            "cd {out}/app && LAMDA_BUNDLE=$PWD/bundle PYTHONPATH=$PWD "
            "serve run ../serve_config.yaml",
        ),
    ),
)
