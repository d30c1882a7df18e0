"""Load by `wrk`, a Debian package: as many requests as a server takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import tools  # noqa: E402

WRK = ("wrk", "libluajit2-5.1-2")
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "{content_type}"
wrk.body = "{body}"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("%d %d %d %d\\n", summary.requests, summary.duration,
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


class Load(NamedTuple):
    """What came of it."""

    answered: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


def load(
    port: int, path: str, content_type: str, body: bytes, seconds: float, connections: int
) -> Load:
    """Ask over so many connections for so long. AssertionError where any answer is not 2xx."""
    program = tools.debian("wrk", WRK)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        escaped = "".join(f"\\{byte:03}" for byte in body)
        script.write(SCRIPT.format(content_type=content_type, body=escaped))
        script.flush()
        command = [program, "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", script.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"],
            env=tools.environment(program), capture_output=True, text=True, check=True,
        )  # fmt: skip
    answered, micros, wrong, failed = map(int, done.stdout.splitlines()[-1].split())
    assert wrong == failed == 0, done.stdout
    return Load(answered, micros / 1e6)
