"""Write tests/serve/events/*.json, the events that `sam local generate-event` makes.

    python tests/serve/sam_events.py

They are committed: aws-sam-cli has a hundred dependencies, and only this needs them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rie import CACHE, VERSION

EVENTS = Path(__file__).parent / "events"
KINDS = (
    ("alb", "request"),
    ("apigateway", "aws-proxy"),
    ("apigateway", "http-api-proxy"),
    ("cloudwatch", "scheduled-event"),
    ("dynamodb", "update"),
    ("kinesis", "get-records"),
    ("s3", "delete"),
    ("s3", "put"),
    ("sns", "notification"),
    ("sqs", "receive-message"),
    ("stepfunctions", "error"),
)


def main() -> None:
    """Make a virtual environment with aws-sam-cli in the cache, and let it write every event."""
    sam = CACHE / f"venv-{VERSION}" / "bin" / "sam"
    if not sam.exists():
        subprocess.run([sys.executable, "-m", "venv", sam.parents[1]], check=True)
        install = [sam.with_name("pip"), "install", "--quiet", f"aws-sam-cli=={VERSION}"]
        subprocess.run(install, check=True)
    EVENTS.mkdir(exist_ok=True)
    for kind in KINDS:
        command = [sam, "local", "generate-event", *kind]
        environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        text = json.dumps(json.loads(done.stdout), indent=2)
        (EVENTS / f"{'-'.join(kind)}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
