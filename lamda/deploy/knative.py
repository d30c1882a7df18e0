"""Knative Serving: an image, the service that runs it, and the same for the tool func."""

from lamda.deploy import container
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way


def _write(function: Function, folder: Folder) -> None:
    container.write(function, folder, command=container.EVENTS)
    folder.render("knative/service.yaml")
    folder.render("knative/func.yaml")


WAYS = (Way(_write, (*container.BUILD, "kubectl apply -f {out}/service.yaml")),)
