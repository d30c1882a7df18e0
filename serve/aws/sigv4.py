"""The signature of a request to AWS, version 4.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time

TYPE_CHECKING = False  # of typing, which would cost 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

Keys = tuple[str, str, "str | None"]  # the access key, the secret key, the token of a session

ALGORITHM = "AWS4-HMAC-SHA256"


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    service: str,
    region: str,
    keys: Keys,
    now: time.struct_time,
) -> dict[str, str]:
    """The headers to send a request with: those given, names in lower case, and those that sign it.

    The path of the URL is quoted already. It has no query.
    """
    access, secret, token = keys
    host, _, path = url.partition("://")[2].partition("/")
    moment, digest = time.strftime("%Y%m%dT%H%M%SZ", now), hashlib.sha256(body).hexdigest()
    sent = {**headers, "host": host, "x-amz-date": moment}
    if service == "s3":
        sent["x-amz-content-sha256"] = digest
    if token:
        sent["x-amz-security-token"] = token
    names = sorted(sent)
    lines = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in names)
    request = "\n".join([method, f"/{path}", "", lines, ";".join(names), digest])
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"{ALGORITHM} Credential={access}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    return sent
