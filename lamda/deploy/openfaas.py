"""OpenFaaS, by its tool faas-cli: an image that it builds itself."""

from lamda.deploy import container
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way


def _write(function: Function, folder: Folder) -> None:
    container.write(function, folder, command=container.EVENTS)
    folder.render("openfaas/stack.yaml")


WAYS = (Way(_write, ("cd {out} && faas-cli up -f stack.yaml",)),)
