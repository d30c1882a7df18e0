"""uvicorn and starlette, whose only route returns a constant: the floor of a framework.

PROGRAM PORT ANSWER
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ANSWER = sys.argv[2].encode()


async def answer(request: Request) -> Response:
    """Reads the request, as anything that computes would, and computes nothing."""
    await request.body()
    return Response(ANSWER, media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
