"""Sessions of pytest in processes of their own, as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

LAWS = """
import lamda as lm
from hypothesis import strategies as st
from lamda.testing import Level, Suite, Tier, check_laws, law

@law("f >> identity = f", Level.ADDRESS)
def right_unit(draw):
    f = draw.model()
    return f >> lm.identity, f

@law("every f is identity", Level.ADDRESS)
def wrong(draw):
    f = draw.model()
    return f, f >> double

@law("f does not compose", Level.ADDRESS)
def ill(draw):
    return draw.model() >> lm.pick(0), None

@law("f may be compiled", Level.VALUE, Tier.XLA)
def compiled(draw):
    f, x = draw.model(), jnp.ones(3)
    return jax.jit(f)(x), f(x)

import jax, jax.numpy as jnp
double = lm.lift(lambda x: x * 2, input="float32[3]", name="double")
"""


def session(folder: Path, code: str, *options: str) -> tuple[int, str]:
    """Run the tests of one file; the exit code and what was printed."""
    (folder / "test_it.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *options],
        cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": "", "COLUMNS": "100"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
