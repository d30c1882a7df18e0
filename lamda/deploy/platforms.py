"""The platforms that a bundle can be deployed to, each a module that writes what its tool takes."""

from lamda.deploy import (
    aws,
    azure,
    gcp,
    knative,
    kserve,
    openfaas,
    openwhisk,
    ray,
    sagemaker,
)
from lamda.deploy.way import Way

PLATFORMS: dict[str, tuple[Way, ...]] = {
    "aws": aws.WAYS,
    "azure": azure.WAYS,
    "gcp": gcp.WAYS,
    "knative": knative.WAYS,
    "kserve": kserve.WAYS,
    "openfaas": openfaas.WAYS,
    "openwhisk": openwhisk.WAYS,
    "ray": ray.WAYS,
    "sagemaker": sagemaker.WAYS,
}
"""By name; the last way of each is the one of an image."""
