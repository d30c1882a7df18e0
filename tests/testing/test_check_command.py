"""The command ``lamda check``, as a stranger uses it."""

import json
import sys

import pytest

import lamda as lm
from lamda.cli import main

CODE = """
import lamda as lm
from lamda.testing import models

double = lm.lift(lambda x: x * 2, input="float32[3]", name="double")
small = models("float32[b, 2]", size=2)
number = 3


def counting(f, seen=[0]):
    seen[0] += 1
    return f >> lm.lift(lambda x: x * seen[0]) if seen[0] % 2 else f
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "wares.py").write_text(CODE)
    (tmp_path / "unfinished.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("wares", "unfinished"):
        sys.modules.pop(name, None)


def run(capsys, *arguments):
    code = main(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_table(capsys, folder):
    code, out, _ = run(capsys, "wares:double", "--suite", "category", "--examples", "2")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["suite", "law", "level", "tier", "examples", "seconds"]
    assert all(line.endswith("  holds") for line in lines[1:-2])
    assert lines[-1] == f"{len(lines) - 3} of {len(lines) - 3} laws hold"


def test_a_broken_law(capsys, folder):
    arguments = ["wares:counting", "--suite", "combinator", "--examples", "5", "--tier", "abstract"]
    code, out, _ = run(capsys, *arguments)
    assert code == 1
    assert any(line.endswith("  BROKEN") for line in out.splitlines())
    assert 'the law "a combinator is a function" is broken:\n  c(f) = c(f)\n' in out
    assert "\nThe smallest example:\n  f = " in out
    assert out.splitlines()[-1].endswith(
        "1 that take more than abstract were not checked: --tier numpy"
    )


def test_json(capsys, folder):
    code, out, _ = run(capsys, "wares:small", "--suite", "category", "--examples", "1", "--json")
    told = json.loads(out)
    assert code == 0 and all(row["holds"] and row["error"] is None for row in told)
    assert set(told[0]) == {
        "suite", "law", "statement", "level", "tier", "examples", "seconds", "holds", "error",
        "example",
    }  # fmt: skip


def test_a_model_in_a_store(capsys, folder):
    f = lm.lift(lambda x: x * 2, input="float32[3]", name="f")
    lm.Store("store").put(f, ref="it")
    for name in ("it", f.address):
        code, out, _ = run(
            capsys, name, "--store", "store", "--suite", "category", "--examples", "1", "--tier",
            "abstract",
        )  # fmt: skip
        assert code == 0, out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere:f"], "'nowhere:f': there is no module 'nowhere', here or among what is "
         "installed. Say MODULE:NAME with a dot for each folder and without .py, as in "
         "models.text:encoder"),
        (["wares.py:double"], "'wares.py:double': there is no module 'wares.py', here or"),
        ([":"], "':': there is no module '', here or among what is installed."),
        (["wares:triple"], "module 'wares' has no 'triple'; the models and strategies in it are "
         "double, small"),
        (["wares:"], "module 'wares' has no ''; the models"),
        (["wares:number"], "laws are checked of a model, a combinator, or a strategy of "
         "models, and not of 3"),
        (["wares:double", "--suite", "poetry"],
         "there is no suite 'poetry'; the suites are category"),
        (["wares:double", "--examples", "0"],
         "argument --examples: expected a whole number from 1, got '0'"),
        (["wares:double", "--tier", "moon"], "argument --tier: invalid choice: 'moon'"),
        (["news"], "lamda-store is not a store: it has no oci-layout."),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_exit_code_2(capsys, folder, arguments, said):
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith(f"lamda check: {said}") and err.count("\n") == 1


def test_what_a_module_misses_is_its_own_error(folder):
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        main(["check", "unfinished:f"])


def test_without_hypothesis_the_extra_is_named(capsys, folder, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("lamda.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(SystemExit) as stop:
        main(["check", "wares:double"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(
        "lamda check: laws are checked with Hypothesis and pytest, and hypothesis is not "
        "installed: pip install 'lamda[testing]'"
    )
