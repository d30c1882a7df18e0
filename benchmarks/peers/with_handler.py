"""A bundle as an HTTP server would call it: JSON request in, JSON answer out, no socket.

PROGRAM FOLDER BATCH SPEC BUNDLE
"""

import sys

import child


def load(start, inputs):
    """What answers `FOLDER/bBATCH.json`."""
    import serve
    from serve.http import respond

    handler = serve.load(sys.argv[4])
    with open(f"{start}.json", "rb") as file:
        body = file.read()
    headers = {"content-type": "application/json"}
    return lambda: respond(handler, "POST", "/", headers, body)[2]


if __name__ == "__main__":
    child.main(load)
