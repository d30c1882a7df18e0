"""The command ``lamda``, as a stranger uses it."""

import contextlib
import json
import os
import shutil
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
        (["bundle", "a", "b", "--size", "name=1"], "lamda bundle: --size name: an option of "
         "lm.bundle has that name. Say the sizes of the batch with --batch, and give another"),
        (["verify", "a", "--deep"], "lamda verify: --share, --seed and --deep are for a whole "
         "store: leave out REF (see lamda verify --help)"),
        (["import", "a", "--loose"], "lamda import: --ref, --rename and --loose are for weights: "
         "give --into REF (see lamda import --help)"),
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
    assert (done.stderr, done.returncode) == ("", 141)


def test_a_full_output_is_one_line(store):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "lamda.cli", "log", "sum", "--store", store],
                              stdout=full, stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "lamda: standard output: No space left on device. Check the path, and that you may read "
        "and write there.\n"
    )


def test_ctrl_c_is_no_traceback(store, tmp_path):
    key = tmp_path / "a.key"
    os.mkfifo(key)
    # Of a shell's background jobs SIGINT is ignored, and they hand that on.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lamda.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "sign", "sum", "--key", str(key), "--store", store]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as running:
        with open(key, "w"):  # opened when the command reads it, which then waits for us
            for _ in range(10):  # one that comes just before it reads is seen after
                running.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    assert running.wait(3) == 130
                    break
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "path", "said"),
    [
        (["keygen", "{}/none/k"], "{}/none/k.key", "No such file or directory"),
        (["show", "sum", "--svg", "{}"], "{}", "Is a directory"),
        (["bundle", "sum", "{}/out", "--tokenizer", "{}/none"], "{}/none", "No such file or"),
        (["bundle", "sum", "{}/file"], "{}/file/manifest.json", "Not a directory"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_path(
    capsys, store, tmp_path, arguments, path, said
):
    (tmp_path / "file").touch()
    where = [] if arguments[0] == "keygen" else ["--store", store]
    code, out, err = run(capsys, *(a.format(tmp_path) for a in arguments), *where)
    assert (code, out) == (1, "")
    assert err.startswith(f"lamda: {path.format(tmp_path)}: {said}") and err.count("\n") == 1


@pytest.fixture(scope="module")
def bundled(store, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("bundled") / "sum")
    assert main(["bundle", "sum", out, "--store", store, "--batch", "1"]) == 0
    return out


def test_what_can_be_json_is(capsys, store, bundled, tmp_path):
    weights = str(tmp_path / "w.safetensors")
    assert main(["keygen", str(tmp_path / "k")]) == 0
    key, pub = str(tmp_path / "k.key"), str(tmp_path / "k.pub")
    capsys.readouterr()

    def said(*arguments):
        code, out, err = run(capsys, *arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    def of_store(*arguments):
        return said(*arguments, "--store", store)

    assert of_store("who", "sum") == {"who": one.address}
    versions = of_store("log", "sum")
    assert [v["who"] for v in versions] == [one.address, zero.address]
    assert versions[0]["pred"] == zero.address and versions[1]["pred"] is None
    shown = of_store("show", "sum")
    assert (shown["pred"], shown["input"]) == (zero.address, "float32[b, 2]")
    assert shown["tensors"][1]["path"] == "body/kernel"
    assert said("show", bundled)["who"] == one.address
    assert of_store("export", "sum", weights) == {"path": weights, "tensors": 4}
    assert of_store("import", weights, "--into", "sum") == {"who": one.address}
    assert said("import", store, "--store", str(tmp_path / "other")) == {"sum": one.address}
    made = said("keygen", str(tmp_path / "j"))
    assert made == {**made, "key": str(tmp_path / "j.key"), "pub": str(tmp_path / "j.pub")}
    assert of_store("sign", "sum", "--key", key)["who"] == one.address
    assert of_store("verify", "sum", "--key", pub)["statement"]["predicate"]["pred"]
    assert of_store("bundle", "sum", str(tmp_path / "out"), "--batch", "1")["compiled"] == 1
    assert of_store("refs") == {"sum": one.address}
    for command in (["du"], ["gc", "--dry-run"], ["verify"], ["diff", "sum", zero.address]):
        assert of_store(*command)


def test_numbers_that_are_none_are_no_json(capsys, tmp_path):
    f = dense(2, 3, 0, "f")
    bad = lm.succ(f, jax.tree.map(lambda w: w * float("nan"), f.weights))
    lm.Store(tmp_path).put(bad, ref="bad")
    arguments = ("diff", f.address, "bad", "--store", str(tmp_path), "--json")
    assert json.loads(run(capsys, *arguments)[1], parse_constant=pytest.fail)


def test_names_of_strangers_do_nothing_to_a_terminal(capsys, tmp_path):
    f = lm.lift(lambda x: x, input="float32[b]", name="\x1b[2Jf")
    lm.Store(tmp_path).put(f, ref="f")
    assert run(capsys, "log", "f", "--store", str(tmp_path))[1].endswith("  \\x1b[2Jf\n")
    assert "there is no '\\x1b[2J'" in run(capsys, "who", "\x1b[2J", "--store", str(tmp_path))[2]


def test_a_ref_comes_before_a_directory(capsys, store, bundled, monkeypatch):
    monkeypatch.chdir(os.path.dirname(bundled))
    out = run(capsys, "show", "sum", "--store", store)[1]
    assert out.startswith("body >> head\n")  # which the bundle does not know
    assert run(capsys, "show", "./sum", "--store", store)[1].startswith("sum\n")
    assert run(capsys, "show", "sum")[1].startswith("sum\n")  # there is no store
    os.makedirs("lamda-store/refs")
    with open("lamda-store/oci-layout", "w") as file:
        file.write("not ours")
    assert run(capsys, "show", "./sum")[1].startswith("sum\n")  # nobody asks for that store
    code, _, err = run(capsys, "who", "x" * 5000, "--store", store)
    assert code == 1 and "there is no" in err


def test_a_bundle_brings_no_python(bundled, tmp_path):
    """``lamda invoke .`` in a bundle that holds modules of its own."""
    out = tmp_path / "out"
    shutil.copytree(bundled, out)
    for name in ("serve", "msgpack", "jax", "lammps_jax_pjrt_cpu"):
        (out / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    command = [sys.executable, "-P", "-m", "lamda.cli", "invoke", "."]
    done = subprocess.run(command, input=b"[[1, 2]]", capture_output=True, cwd=out)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "ran").exists()


def test_a_hostile_bundle_is_one_line(capsys, tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"[" * 100_000)
    code, _, err = run(capsys, "who", str(tmp_path))
    assert code == 1 and err.startswith("lamda: ") and err.count("\n") == 1
