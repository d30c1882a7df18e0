"""Read and write one object of S3, or of a server that speaks its protocol."""

from __future__ import annotations

import os

from serve.aws import client
from serve.aws.start import variable

EXPECTED_REGION = "the region of the bucket, as Lambda sets it"


def get(bucket: str, key: str, most: int) -> tuple[str | None, bytes]:
    """The content type and the bytes of an object.

    Raises:
        RequestError: 413, it has more bytes than `most`.
        AwsError: it can not be read.
    """
    headers, body = client.ask("s3", "GET", url(bucket, key), most=most)
    return headers.get("content-type"), body


def put(bucket: str, key: str, body: bytes, form: str) -> None:
    """Write an object. Raises AwsError where that fails."""
    client.ask("s3", "PUT", url(bucket, key), {"content-type": form}, body)


def url(bucket: str, key: str) -> str:
    """The URL of an object; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL may name another server."""
    from urllib.parse import quote

    path = quote(key, safe="/~")
    custom = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if custom:
        return f"{custom.rstrip('/')}/{bucket}/{path}"
    region = variable("AWS_REGION", EXPECTED_REGION)
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    if "." in bucket:  # a certificate's * is one part of a name
        return f"https://s3.{region}.{domain}/{bucket}/{path}"
    return f"https://{bucket}.s3.{region}.{domain}/{path}"
