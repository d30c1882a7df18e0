"""A loop on the runtime API of Lambda that answers every event with a constant: the floor.

PROGRAM ANSWER
"""

import http.client
import os
import sys

ANSWER = sys.argv[1].encode()
ROOT = "/2018-06-01/runtime/invocation"

if __name__ == "__main__":
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        api.request("GET", f"{ROOT}/next")
        event = api.getresponse()
        event.read()
        name = event.headers["Lambda-Runtime-Aws-Request-Id"]
        api.request("POST", f"{ROOT}/{name}/response", ANSWER)
        api.getresponse().read()
