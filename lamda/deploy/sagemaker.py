"""Amazon SageMaker: an image with the runtime, and the bundle as the archive of the model."""

from lamda.deploy import container
from lamda.deploy.folder import Folder
from lamda.deploy.function import Function
from lamda.deploy.way import Way


def _write(function: Function, folder: Folder) -> None:
    command = ("python", "-m", "serve.sagemaker")
    container.write(function, folder, command=command, bundle=False)
    model = function.contents.model
    folder.tar("model.tar.gz", {name.removeprefix("bundle/"): path for name, path in model.items()})
    folder.render("sagemaker/model.json")


WAYS = (
    Way(
        _write,
        (
            *container.BUILD,
            "aws s3 cp {out}/model.tar.gz s3://$BUCKET/{name}/model.tar.gz",
            "aws sagemaker create-model --cli-input-json file://{out}/model.json "
            "--execution-role-arn $ROLE "
            "--primary-container Image={image},ModelDataUrl=s3://$BUCKET/{name}/model.tar.gz",
            "aws sagemaker create-endpoint-config --endpoint-config-name {name} "
            "--production-variants VariantName=all,ModelName={name},InitialInstanceCount=1,"
            "InstanceType=$INSTANCE",
            "aws sagemaker create-endpoint --endpoint-name {name} --endpoint-config-name {name}",
        ),
    ),
)
