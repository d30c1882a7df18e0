"""`python -m serve.openwhisk DIR`: a container of OpenWhisk that serves a bundle."""

import sys

from serve.openwhisk.proxy import run

sys.exit(run(sys.argv[1:]))
