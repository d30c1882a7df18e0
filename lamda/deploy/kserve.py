"""KServe: an image, and the inference service that runs it, with the Open Inference Protocol."""

from lamda.deploy import container
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way


def _write(function: Function, folder: Folder) -> None:
    container.write(function, folder)
    folder.render("kserve/inferenceservice.yaml")


WAYS = (Way(_write, (*container.BUILD, "kubectl apply -f {out}/inferenceservice.yaml")),)
