"""``python -m lamda.cli`` is the command ``lamda``."""

import sys

from lamda.cli import main

if __name__ == "__main__":
    sys.exit(main())
