"""The plugins of pytest and Hypothesis, in processes of their own."""

import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from sessions import LAWS, session

import lamda as lm
from lamda_hooks.compiles import Compiles, NoRecompile
from lamda_hooks.golden import NAME, Golden


def in_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pytest_loads_neither_jax_nor_lamda_nor_hypothesis(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "assert 'lamda_hooks.pytest' in sys.modules\n"
        "loaded = {'jax', 'jaxlib', 'lamda', 'hypothesis'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    code = (
        "import sys\n"
        "def test_nothing_is_loaded():\n"
        "    assert not {'jax', 'lamda', 'hypothesis'} & set(sys.modules)\n"
    )
    returned, out = session(tmp_path, code)
    assert returned == 0, out
    header = next(line for line in out.splitlines() if line.startswith("lamda "))
    assert [part.split()[0] for part in header.split(", ")] == [
        "lamda", "jax", "jaxlib", "hypothesis",
    ]  # fmt: skip
    assert "laws" not in out  # a summary only where there are laws


def test_hypothesis_loads_neither_jax_nor_lamda():
    code = "import hypothesis, sys; print({'jax', 'lamda'} & set(sys.modules))"
    assert in_process(code) == "set()"


PROFILES = """
from hypothesis import settings
for name in ("lamda", "lamda-fast", "lamda-deep"):
    profile = settings.get_profile(name)
    print(profile.max_examples, profile.deadline, profile.print_blob)
"""


@pytest.mark.parametrize("first", ["hypothesis", "lamda"])
def test_models_are_known_whichever_is_imported_first(first):
    second = {"hypothesis": "lamda", "lamda": "hypothesis"}[first]
    code = f"""
import {first}, {second}, sys
from hypothesis import strategies as st
import lamda as lm
strategy = st.from_type(lm.Model)
strategy.validate()
print("lamda.testing" in sys.modules)
{PROFILES}"""
    assert in_process(code).splitlines() == [
        "True", "100 None True", "20 None True", "1000 None True",
    ]  # fmt: skip


TIERS = (
    LAWS
    + """
suite = Suite("mine", (right_unit, compiled))
test_laws = check_laws(double, suites=[suite], examples=3)
test_more = check_laws(double, suites=[suite], examples=5)
"""
)


def test_laws_above_the_tier_are_skipped_and_counts_travel_from_workers(tmp_path):
    returned, out = session(tmp_path, TIERS, "-rs", "--lamda-tier=numpy", "-n", "2")
    assert returned == 0, out
    assert "a law of tier xla, and --lamda-tier=numpy" in out
    # A model that is given is one example, however many were asked for.
    assert "\nlamda: 2 laws, 2 examples, " in out
    assert " compiles, 2 skipped above --lamda-tier=numpy\n" in out


def test_after_so_many_compiles_laws_of_xla_are_skipped(tmp_path):
    returned, out = session(tmp_path, TIERS, "-rs", "--lamda-max-compiles=1")
    assert returned == 0, out
    assert "a law of tier xla, and --lamda-max-compiles=1 are done" in out
    [(laws, compiles, skipped)] = re.findall(
        r"\nlamda: (\d) laws, \d examples, (\d+) compiles, (\d) skipped by --lamda-max-compiles\n",
        out,
    )
    assert (laws, skipped) == ("3", "1") and int(compiles) >= 1


# --- fixtures ---


def test_no_recompile(no_recompile):
    double = jax.jit(lambda x: x * 2)
    x = jnp.ones(3)
    double(x)
    with no_recompile:
        double(x)
    with (
        pytest.raises(pytest.fail.Exception, match=r"XLA compiled .*jit\(<lambda>\)"),
        no_recompile,
    ):
        double(x.reshape(1, 3))


def test_without_with_it_guards_the_test():
    compiles = Compiles()
    guard = NoRecompile(compiles)
    assert not guard.used
    guard.require()
    jax.jit(lambda x: x * 3)(1.0)
    with pytest.raises(pytest.fail.Exception, match="nothing was to be compiled here"):
        guard.require()
    compiles.stop()


def test_what_fails_inside_is_not_hidden(no_recompile):
    with pytest.raises(KeyError), no_recompile:
        jax.jit(lambda x: x * 4)(1.0)
        raise KeyError


f = lm.lift(lambda x: x * 2, input="float32[3]", name="f")
g = lm.lift(lambda x: x * 3, input="float32[3]", name="g")


def test_golden_addresses(tmp_path):
    file = tmp_path / NAME
    read, write = Golden(file, False), Golden(file, True)
    with pytest.raises(pytest.fail.Exception) as missing:
        read("f", f)
    assert str(missing.value) == (
        f"there is no golden address of 'f' in {file}.\n"
        "Run pytest --lamda-write-golden, look at what it wrote, and commit the file."
    )
    write("f", f)
    write("g", g)
    assert list(json.loads(file.read_text())["addresses"]) == ["f", "g"]
    read("f", f)
    with pytest.raises(pytest.fail.Exception) as changed:
        read("f", g)
    assert str(changed.value) == (
        f"the address of 'f' has changed, from {f.address} to {g.address}.\n"
        "An address never changes meaning, so this is another function: its program, a weight, a "
        "constant or a type has changed. If this is meant, run pytest --lamda-write-golden, and "
        f"commit {file}."
    )
    file.write_text(file.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(pytest.fail.Exception, match="the hashing version of lamda is 1, and"):
        read("f", f)
    write("g", g)
    assert json.loads(file.read_text())["addresses"] == {"g": g.address}


FIXTURES = """
import jax, jax.numpy as jnp
import lamda as lm
f = lm.lift(lambda x: x * 2, input="float32[3]", name="f")

def test_golden(golden_address):
    golden_address("f", f)

def test_guarded(no_recompile):
    jax.jit(lambda x: x * 3)(1.0)
"""


def test_fixtures_in_a_session(tmp_path):
    returned, out = session(tmp_path, FIXTURES, "--lamda-write-golden")
    assert json.loads((tmp_path / NAME).read_text())["addresses"] == {"f": f.address}
    assert returned == 1 and "1 failed, 1 passed" in out
    assert "nothing was to be compiled here, and XLA compiled jit(" in out


def test_golden_addresses_are_not_written_by_workers(tmp_path):
    returned, out = session(tmp_path, FIXTURES, "--lamda-write-golden", "-n", "2")
    assert returned == 4 and "--lamda-write-golden writes one file: run it without -n" in out
