"""Google Cloud Run: an image, and in its folder ``app`` the source of a function."""

from lamda.deploy import container
from lamda.deploy.contents import requirements
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way

LIBRARY = "functions-framework>=3.10,<4\n"
SENT = "/*\n!/app\n!/Dockerfile\n!/requirements.txt\n"


def _write(function: Function, folder: Folder) -> None:
    container.write(function, folder)
    folder.write(".gcloudignore", SENT)
    folder.render("gcp/main.py.tmpl", "app/main.py")
    folder.write("app/requirements.txt", LIBRARY + requirements(function.bundle))


WAYS = (
    Way(
        _write,
        ("gcloud run deploy {name} --source {out} --memory {memory}Mi --timeout {timeout}",),
        "cloud-run",
    ),
)
