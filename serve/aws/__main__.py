"""`python -m serve.aws DIR`: the loop of a Lambda function that serves a bundle."""

import sys

from serve.aws.loop import run
from serve.aws.start import load

run(lambda: load(*sys.argv[1:2]))
