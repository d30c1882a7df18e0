"""What all tests share: the settings of Hypothesis, a registry, an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tools
from hypothesis import settings
from seaweed import serving

# Examples have no deadline: the machines that run these tests are shared.
settings.register_profile("shared", deadline=None, print_blob=True)
settings.load_profile("shared")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The HOST:PORT of an empty OCI registry."""
    with tools.registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an S3 server with one bucket."""
    with serving(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture
def s3(
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> str:
    """The URL of an empty prefix, with keys where the vendor's tools look for them."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "LAMDA_CACHE": str(tmp_path / "cache"), "DOCKER_CONFIG": str(tmp_path / "docker"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{request.node.name.replace('[', '-').strip(']')}"
