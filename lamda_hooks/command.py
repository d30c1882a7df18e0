"""The command `lamda`: Ctrl-C ends it without a traceback also while JAX is being imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command; the exit code."""
    try:
        from lamda.cli import main

        return main()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
