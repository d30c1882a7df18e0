"""AWS Lambda, deployed by AWS SAM: a zip on a Python runtime, or an image.

The runtime gives Python; its own loop is replaced by that of ``serve.aws``, through the wrapper
script that Lambda starts instead: the zip needs no package of Amazon's.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper

Triggers are parameters of the template, which SAM asks for: without them it grants nothing.
"""

from lamda.deploy import container
from lamda.deploy.bytecode import bytecode
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way


def _zip(function: Function, folder: Folder) -> None:
    parts, bootstrap = function.contents, folder.text("aws/bootstrap").encode()
    compiled = bytecode(parts.runtime | parts.packages, folder.scratch / "bytecode")
    files = parts.files | compiled | {"bootstrap": bootstrap}
    folder.zip("function.zip", files, runnable=["bootstrap"])
    folder.render("aws/template.yaml", function=folder.text("aws/zip.yaml").rstrip())


def _image(function: Function, folder: Folder) -> None:
    command = ("python", "-m", "serve.aws", container.BUNDLE)
    container.write(function, folder, command=command, extras=())
    folder.render("aws/template.yaml", function=folder.text("aws/image.yaml").rstrip())


DEPLOY = "sam deploy --guided --stack-name {name} --template-file"
WAYS = (
    Way(_zip, (f"{DEPLOY} {{out}}/template.yaml",), "aws-lambda-zip"),
    Way(
        _image,
        (
            "sam build --template-file {out}/template.yaml --build-dir {out}/build",
            f"{DEPLOY} {{out}}/build/template.yaml --resolve-image-repos",
        ),
        "aws-lambda-image",
    ),
)
