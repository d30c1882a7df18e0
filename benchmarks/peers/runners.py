"""Who takes part, and how what they did is printed."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from peers.processes import Peer

CORES = 2
Timed = Callable[[int], float]

LAMDA = Peer("lamda", "with_lamda.py", ("{folder}/bundle",))
UNROLLED = Peer("lamda", "with_lamda.py", ("{folder}/unrolled",))
NATIVE = Peer("lamda", "with_lamda.py", ("{folder}/native",))
ROLLED = Peer("lamda", "with_lamda.py", ("{folder}/rolled",))
HANDLER = Peer("lamda", "with_handler.py", ("{folder}/bundle",), json=True)
JAX = Peer("", "with_jax.py")
JAX_SERIALISED = Peer("", "with_jax_serialised.py")
ONNXRUNTIME = Peer("onnxruntime", "with_onnxruntime.py")
OPTIMISED = Peer("onnxruntime", "with_onnxruntime.py", ("optimised",))
LITERT = Peer("litert", "with_litert.py")


def options(purpose: str, rounds: int, names: Sequence[str]) -> argparse.Namespace:
    """The command line of a benchmark."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", choices=names,
        help="may be given again; one of: " + ", ".join(names),
    )  # fmt: skip
    return parser.parse_args()


def chosen(names: Iterable[str], only: Sequence[str]) -> list[str]:
    """Those of the names that --only asks for; all where it asks for none of them."""
    known = list(names)
    return [name for name in known if name in only] or known


def prepare(names: Sequence[str]) -> None:
    """Everything that the peers read, made in a process of its own; and two cores for each."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    script = Path(__file__).with_name("prepare.py")
    subprocess.run([sys.executable, script, *names], check=True)


def shuffled(names: Iterable[str], rounds: int) -> Iterable[list[str]]:
    """All names in each round, each time in another order."""
    draw, order = random.Random(0), list(names)
    for _ in range(rounds):
        draw.shuffle(order)
        yield order


def header(text: str, columns: str) -> None:
    """The head of a table. Processes besides our own one make times longer, and ratios vary."""
    print(f"\n{text}; load of the machine {os.getloadavg()[0]:.1f}")
    print(f"  {'':30} {columns}")


def goals(lines: Iterable[tuple[str, Callable[[], float], float, str]]) -> None:
    """What is asked for, what was found, and whether that is enough; what was not run is left out.

    Each is a name, what finds the number, the most that it may be, and its unit.
    """
    for name, find, most, unit in lines:
        try:
            found = find()
        except KeyError:
            continue
        said = "yes" if found <= most else "NO"
        print(f"  {name:<58} {found:8.2f} {unit:<3} at most {most:g}: {said}")
