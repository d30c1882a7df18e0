"""The standards that a store follows: media types, descriptors, canonical JSON.

A store is an OCI image layout (https://github.com/opencontainers/image-spec), a version is a
manifest with the media types of CNCF ModelPack (https://github.com/modelpack/model-spec).
"""

import json
from collections.abc import Mapping
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
DATASET = "application/vnd.cncf.model.dataset.v1.raw"
CODE = "application/vnd.cncf.model.code.v1.raw"
RECORD = "application/vnd.cncf.model.weight.config.v1.raw"
"""The record is the first layer: the schema of ModelPack allows nothing of ours in the config."""

PATH = "org.cncf.model.filepath"
REF_NAME = "org.opencontainers.image.ref.name"
ADDRESS = "dev.lamda.address"
PRED = "dev.lamda.pred"
"""The manifest of the version before. Not ``subject``: registries delete what that names."""


DATA, MODEL_KIND = "data", "model"
"""The kinds of records; that of a model does not say it."""


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def record(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The descriptor of the record of a version. Raises ValueError where there is none."""
    layers = manifest["layers"]
    if not layers or layers[0].get("mediaType") != RECORD:
        raise ValueError(f"its first layer is no record, {RECORD}")
    return layers[0]


def descriptor(kind: str, digest: str, size: int, **annotations: str) -> dict[str, Any]:
    """What names a blob: media type, digest, size."""
    entry: dict[str, Any] = {"mediaType": kind, "digest": digest, "size": size}
    return entry | ({"annotations": annotations} if annotations else {})
