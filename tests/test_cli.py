"""The command ``lamda``, as a stranger uses it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import jax
import pytest
from parts import dense

import lamda as lm
from lamda.cli import main

zero = lm.fine_tune_head(dense(2, 3, 0, "body"), dense(3, 1, 1, "head"))
one = lm.succ(zero, jax.tree.map(lambda w: w + 1, zero.weights))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "store"
    lm.Store(path).put(one, ref="sum")
    return str(path)


def run(capsys, *arguments):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_who(capsys, store):
    assert run(capsys, "who", "sum", "--store", store) == (0, f"{one.address}\n", "")


def test_log(capsys, store):
    _, out, _ = run(capsys, "log", "sum", "--store", store)
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [one.address, zero.address]
    assert lines[0].endswith(" bytes  body >> head")


def test_show(capsys, store, tmp_path):
    _, out, _ = run(capsys, "show", "sum", "--store", store, "--svg", str(tmp_path / "a.svg"))
    assert out.splitlines()[:5] == [
        "body >> head",
        f"  who     {one.address}",
        f"  pred    {zero.address}",
        "  input   float32[b, 2]",
        "  output  float32[b, 1]",
    ]
    assert "  body/kernel  float32[2, 3]        6  frozen   sha256:" in out
    assert "  head/kernel  float32[3, 1]        3  trained  sha256:" in out
    assert "  13 numbers, 4 trained and 9 frozen; 52 bytes\n" in out
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")


def test_diff(capsys, store):
    _, out, _ = run(capsys, "diff", zero.address[:15], "sum", "--store", store)
    assert out == f"{lm.diff(zero, one)}\n"
    assert "~ head/kernel  float32[3, 1]  norm 1.732  7.78 of it  12 bytes\n" in out
    _, out, _ = run(capsys, "diff", "sum", "sum", "--store", store)
    assert out == f"the same: {one.address}\n"


def test_bundle_invoke_and_serve(capsys, store, tmp_path):
    out = str(tmp_path / "out")
    code, said, _ = run(capsys, "bundle", "sum", out, "--store", store, "--batch", "1,4")
    assert code == 0 and said.startswith(f"{out}: {one.address}, 2 compiled, ")
    assert run(capsys, "who", out)[1] == f"{one.address}\n"
    assert "body >> head" not in run(capsys, "show", out)[1]  # a bundle knows its name alone
    answer = subprocess.run([sys.executable, "-m", "lamda.cli", "invoke", out], input="[[1, 2]]",
                            check=True, capture_output=True, text=True).stdout  # fmt: skip
    server = subprocess.Popen([sys.executable, "-m", "lamda.cli", "serve", out, "--port", "0"],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()
        place = ready.split(" at ")[1].split()[0]
        with urllib.request.urlopen(urllib.request.Request(place, b"[[1, 2]]")) as response:
            assert json.loads(response.read()) == json.loads(answer)
        with urllib.request.urlopen(place) as response:
            told = json.loads(response.read())
        assert told["address"] == one.address
        assert told["runtime"]["way"] == "executable"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        server.stdout.close()


def test_what_is_not_there_is_one_line(capsys, store, tmp_path):
    code, out, err = run(capsys, "who", "nothing", "--store", store)
    assert (code, out) == (1, "")
    assert err == f"lamda: there is no 'nothing' in {store}; its refs are sum\n"
    code, _, err = run(capsys, "log", "sum", "--store", str(tmp_path))
    assert code == 1 and err.endswith(f"Make one with lm.Store({str(tmp_path)!r}).\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "lamda: the following arguments are required: COMMAND (see lamda --help)"),
        (["fly"], "lamda: argument COMMAND: invalid choice: 'fly'"),
        (["who"], "lamda who: the following arguments are required: REF (see lamda who --help)"),
        (["bundle", "a", "b", "--batch", "x"], "lamda bundle: argument --batch: expected numbers "
         "like 1,8,32, got 'x' (see lamda bundle --help)"),
        (["bundle", "a", "b", "--size", "12"], "lamda bundle: argument --size: expected a size "
         "like t=32,128, got '12' (see lamda bundle --help)"),
        (["serve", "a", "--port", "x"], "lamda serve: argument --port: invalid int value: 'x' "
         "(see lamda serve --help)"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_line_and_exit_code_2(capsys, arguments, said):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith(said) and err.count("\n") == 1


@pytest.mark.parametrize("command", ["who", "show", "diff", "log", "bundle", "serve", "invoke"])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    assert "example:\n" in out and f"lamda {command} " in out


def test_a_closed_pipe_is_no_error(store):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "lamda.cli", "log", "sum", "--store", store],
                          stdout=write, stderr=subprocess.PIPE, text=True)  # fmt: skip
    os.close(write)
    assert done.stderr == ""
