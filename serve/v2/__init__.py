"""The Open Inference Protocol V2 around a handler, as KServe and Triton speak it: REST and gRPC.

`respond` is the REST half, which `serve.http` asks for paths under /v2; `serve.v2.grpc` is the
other (docs/platforms/v2.md).

Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from serve.v2.rest import respond as respond
