"""Azure Functions, published by Azure Functions Core Tools: the folder of a Python function app."""

from lamda.deploy.contents import requirements
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way

LIBRARY = "azure-functions>=1.26,<2\n"


def _write(function: Function, folder: Folder) -> None:
    folder.place(function.contents.with_pip)
    minutes, seconds = divmod(function.timeout, 60)
    hours, minutes = divmod(minutes, 60)
    folder.render("azure/host.json", clock=f"{hours:02}:{minutes:02}:{seconds:02}")
    folder.render("azure/function_app.py.tmpl")
    folder.write("requirements.txt", LIBRARY + requirements(function.bundle))


WAYS = (
    Way(
        _write,
        ("cd {out} && func azure functionapp publish {name} --python",),
        "azure-consumption",
        memory=1536,
    ),
)
