"""Running a bundle: the same answers as numpy by every way, and nothing that ends the process.

Where a test needs a clean process, or could end it, it runs in one of its own (`make.python`).
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import struct
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import make
import numpy as np
import pytest

from serve import bundle
from serve.errors import PluginError, RequestError, ServeError
from serve.runtime import apart, build, digests, engine, machine, plugins

FITS = "The bundle's executable is for this plugin and this machine."
ZEROS = "sha256:" + "0" * 64

RUN = """
import json, os, sys
from serve import bundle
from serve.runtime import engine, plugins
if sys.argv[3:]:
    plugins.KNOWN = {}
e = engine.open(bundle.read(sys.argv[1]))
outputs = [
    [(dtype, shape, data.hex()) for dtype, shape, data in e(i, [*map(bytes.fromhex, inputs)])]
    for i, inputs in json.loads(sys.argv[2])
]
print(json.dumps({
    "outputs": outputs, "way": e.way, "why": e.why, "notes": e.notes,
    "foreign": sorted({"jax", "jaxlib", "lamda", "numpy"} & set(sys.modules)),
    "flags": os.environ.get("XLA_FLAGS"),
}))
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of this module's own, so that it neither finds nor leaves anything."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def bundles(cache: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {"add_one": make.add_one, "dense": make.dense, "pair": make.pair}
    return {name: write(folder / name) for name, write in made.items()}


@pytest.fixture
def copy(bundles: dict[str, str], tmp_path: Any) -> str:
    """A copy of `dense` for a test to damage."""
    return str(shutil.copytree(bundles["dense"], tmp_path / "dense"))


def rows(count: int) -> np.ndarray:
    return np.linspace(-3, 5, count * 3, dtype=np.float32).reshape(count, 3)


def dense(x: np.ndarray) -> np.ndarray:
    kernel, bias, scale, _ = make.dense_weights()
    return scale * (x @ kernel + bias)


def run(directory: str, calls: list[Any], *arguments: str, **environment: Any) -> Any:
    """Run calls of (index, [array, ...]) in a fresh process."""
    sent = json.dumps([(i, [x.tobytes().hex() for x in inputs]) for i, inputs in calls])
    return make.python(RUN, directory, sent, *arguments, **environment)


def arrays(outputs: list[Any]) -> list[np.ndarray]:
    """The outputs of one call in `run`."""
    return [
        np.frombuffer(bytes.fromhex(data), jnp.dtype(dtype)).reshape(shape)
        for dtype, shape, data in outputs
    ]


def edit(directory: str, change: Callable[[Any], object]) -> None:
    """Change every executable's entry of a bundle."""
    value = make.read(directory)
    for program in value["programs"]:
        for entry in program["executables"]:
            change(entry)
    make.write(directory, value)


def answers(directory: str, **environment: Any) -> Any:
    """Run `dense` at both sizes in a fresh process, and hold it to numpy."""
    done = run(directory, [(0, [rows(1)]), (1, [rows(4)])], **environment)
    for outputs, count in zip(done["outputs"], (1, 4), strict=True):
        (found,) = arrays(outputs)
        np.testing.assert_array_max_ulp(found, dense(rows(count)), maxulp=4)
    return done


LOAD = """
import json, sys
import serve
answer = serve.load(sys.argv[1])(b"[[1.0, 2.0, 3.0]]")
slow = {"dataclasses", "importlib.metadata", "ctypes.util", "logging", "pathlib", "subprocess",
        "typing"}
print(json.dumps([answer.decode(), sorted(slow & set(sys.modules))]))
"""


def test_loading_imports_nothing_slow(bundles: dict[str, str]) -> None:
    plugin = plugins.find()
    assert plugin is not None
    answer, slow = make.python(LOAD, bundles["dense"], bare=True, LAMDA_PJRT_PLUGIN=plugin.path)
    (found,) = json.loads(answer)
    np.testing.assert_allclose(found, dense(np.array([[1, 2, 3]], np.float32))[0], rtol=1e-6)
    assert slow == []


class TestTheExecutable:
    def test_in_a_fresh_process_without_jax_or_numpy(self, bundles: dict[str, str]) -> None:
        done = answers(bundles["dense"])
        assert (done["way"], done["why"], done["notes"]) == ("executable", FITS, [])
        assert done["foreign"] == []

    def test_add_one(self, bundles: dict[str, str]) -> None:
        done = run(bundles["add_one"], [(1, [rows(4)])])
        np.testing.assert_array_equal(arrays(done["outputs"][0])[0], rows(4) + 1)

    def test_several_inputs_and_outputs(self, bundles: dict[str, str]) -> None:
        ids = np.arange(8, dtype=np.int32).reshape(2, 4) * 9
        mask = ids % 2 == 0
        done = run(bundles["pair"], [(1, [ids, mask])])
        count, kept, total = arrays(done["outputs"][0])
        np.testing.assert_array_equal(count, mask.sum(axis=1))
        np.testing.assert_array_equal(kept, ids * mask)
        assert total.shape == () and total == jnp.bfloat16((ids * mask).sum())

    def test_beside_jax_in_one_process(self, bundles: dict[str, str]) -> None:
        before = jax.jit(jnp.sin)(1.0)
        opened = engine.open(bundle.read(bundles["dense"]))
        ((dtype, shape, data),) = opened(1, [rows(4).tobytes()])
        opened.close()
        assert (dtype, shape) == ("float32", (4, 2))
        expected = dense(rows(4))
        np.testing.assert_array_max_ulp(np.frombuffer(data, dtype).reshape(shape), expected, 4)
        assert jax.jit(jnp.sin)(1.0) == before

    def test_every_dtype_scalars_and_empty_arrays(self, tmp_path: Any) -> None:
        values: dict[str, np.ndarray] = {
            dtype: np.array([0, 1, 3]).astype(jnp.dtype(dtype))
            for dtype in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
                          "uint64", "float16", "bfloat16", "float32", "float64")
        }  # fmt: skip
        values |= {"scalar": np.float32(7.5), "void": np.zeros((0, 3), np.int32)}  # type: ignore
        type_ = {"dict": {k: make.array(str(v.dtype), *v.shape) for k, v in values.items()}}
        with jax.enable_x64(True):
            made = make.bundle(
                tmp_path / "all", lambda w, x: (x, w), [values[k] for k in sorted(values)],
                input=type_, output={"tuple": [type_, type_]}, sizes={},
            )  # fmt: skip
        inputs = [values[key] for key in sorted(values)]
        for jax_only in ([], ["no plugin"]):
            done = run(made, [(0, inputs)], *jax_only, LAMDA_PJRT_PLUGIN=None)
            assert done["way"] == ("jax" if jax_only else "executable")
            for found, expected in zip(arrays(done["outputs"][0]), inputs * 2, strict=True):
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
                np.testing.assert_array_equal(found, expected)

    def test_output_shapes_are_known_before_running(self, bundles: dict[str, str]) -> None:
        opened = engine.open(bundle.read(bundles["pair"]))
        expected = [("int32", (2,)), ("int32", (2, 4)), ("bfloat16", ())]
        assert opened.output_shapes(1) == expected
        opened.close()


class TestWhatDoesNotFit:
    """Nothing that differs is loaded: it would be a signal, and no exception."""

    def test_another_plugin(self, copy: str) -> None:
        edit(copy, lambda entry: entry["plugin"].update(digest=ZEROS))
        done = answers(copy)
        plugin = plugins.find()
        assert plugin is not None
        assert done["way"] == "compiled"
        assert done["why"] == (
            f"Compiled from StableHLO by {plugin.path}: "
            f"the executable is for the plugin {ZEROS}, this one is {plugin.digest}."
        )

    def test_a_feature_that_is_missing(self, copy: str) -> None:
        edit(copy, lambda entry: entry["machine"]["features"].append("avx1024"))
        done = answers(copy)
        assert done["way"] == "compiled"
        assert done["why"].endswith(": the executable needs avx1024, which this machine lacks.")

    def test_another_architecture(self, copy: str) -> None:
        edit(copy, lambda entry: entry["machine"].update(arch="vax"))
        done = answers(copy)
        here = os.uname().machine
        assert done["way"] == "compiled"
        assert done["why"].endswith(f": the executable is for vax, this machine is {here}.")

    def test_another_platform(self, copy: str) -> None:
        edit(copy, lambda entry: entry.update(platform="abacus"))
        done = answers(copy)
        assert done["way"] == "compiled"
        assert done["why"].endswith(": the bundle has no executable for platform cpu.")

    def test_a_flipped_byte(self, copy: str) -> None:
        entry = make.read(copy)["programs"][1]["executables"][0]
        path = os.path.join(copy, entry["file"]["path"])
        with open(path, "r+b") as file:
            file.seek(entry["file"]["size"] // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0x10]))
        done = answers(copy)
        assert done["way"] == "compiled"
        assert f"{path} should have the digest {entry['file']['digest']}, found" in done["why"]

    def test_the_first_that_fits_is_loaded(self, copy: str) -> None:
        value = make.read(copy)
        for program in value["programs"]:
            (entry,) = program["executables"]
            other = {**entry, "plugin": {**entry["plugin"], "digest": ZEROS}}
            program["executables"] = [other, entry]
        make.write(copy, value)
        assert answers(copy)["way"] == "executable"


class TestTheCompiledCache:
    def test_compiled_once(self, copy: str, tmp_path: Any) -> None:
        edit(copy, lambda entry: entry["plugin"].update(digest=ZEROS))
        own = {"LAMDA_CACHE": str(tmp_path / "cache")}
        answers(copy, **own)
        assert len(os.listdir(tmp_path / "cache" / "compiled")) == 2
        for program in make.read(copy)["programs"]:
            file = program["stablehlo"]
            with open(os.path.join(copy, file["path"]), "wb") as opened:
                opened.write(bytes(file["size"]))
        assert answers(copy, **own)["way"] == "compiled"  # from the cache alone
        with pytest.raises(AssertionError, match="should have the digest"):
            answers(copy, LAMDA_CACHE=str(tmp_path / "empty"))

    def test_a_damaged_entry_is_compiled_again(self, copy: str, tmp_path: Any) -> None:
        edit(copy, lambda entry: entry["plugin"].update(digest=ZEROS))
        own = {"LAMDA_CACHE": str(tmp_path / "cache")}
        answers(copy, **own)
        one, two = sorted((tmp_path / "cache" / "compiled").iterdir())
        kept, other = one.read_bytes(), two.read_bytes()
        one.write_bytes(kept[:32] + other[32:])  # a whole executable, but of another program
        two.write_bytes(other[:-1000])
        assert answers(copy, **own)["way"] == "compiled"
        for entry in (one, two):
            data = entry.read_bytes()
            assert data[:32] == hashlib.sha256(data[32:]).digest()

    def test_a_cache_that_can_not_be_written(self, copy: str) -> None:
        edit(copy, lambda entry: entry["plugin"].update(digest=ZEROS))
        assert answers(copy, LAMDA_CACHE="/proc/nowhere")["way"] == "compiled"


class TestTheProcess:
    def test_an_unknown_flag_does_not_end_it(self, bundles: dict[str, str], copy: str) -> None:
        edit(copy, lambda entry: entry["plugin"].update(digest=ZEROS))
        for directory in (bundles["dense"], copy):
            done = answers(directory, XLA_FLAGS="--nonsense")
            assert done["notes"] == [
                "XLA_FLAGS='--nonsense' was not read: "
                "a flag that XLA does not know would end the process."
            ]
            assert done["flags"] == "--nonsense"

    def test_weights_are_not_copied(self, bundles: dict[str, str]) -> None:
        read = bundle.read(bundles["dense"])
        opened = engine.open(read)
        native: Any = opened._runner
        base = native.weights._packs[0].address
        found = [native.client.address(buffer) for buffer in native.weights.buffers]
        full = [i for i, tensor in enumerate(read.tensors) if tensor["size"]]
        assert [found[i] for i in full] == [base + read.tensors[i]["offset"] for i in full]
        opened.close()

    def test_from_four_threads(self, bundles: dict[str, str]) -> None:
        opened = engine.open(bundle.read(bundles["dense"]))
        wrong, start = [], threading.Barrier(4)

        def work(seed: int) -> None:
            start.wait()
            for i in range(200):
                x = rows(4) + seed * 1000 + i
                ((dtype, shape, data),) = opened(1, [x.tobytes()])
                if not np.allclose(np.frombuffer(data, dtype).reshape(shape), dense(x), 1e-5):
                    wrong.append((seed, i))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        opened.close()
        assert wrong == []

    def test_calls_keep_no_memory(self, tmp_path: Any) -> None:
        made = make.add_one(tmp_path / "big", sizes={"b": [40_000]})
        opened = engine.open(bundle.read(made))
        data = bytes(40_000 * 12)
        opened(0, [data])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(400):
            opened(0, [data])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        opened.close()
        assert grown < 40_000, f"{grown} KiB for 400 calls of 469 KiB"

    def test_wrong_inputs_are_refused(self, bundles: dict[str, str]) -> None:
        opened = engine.open(bundle.read(bundles["dense"]))
        with pytest.raises(RequestError) as caught:
            opened(0, [])
        assert str(caught.value) == "program 0 of dense takes 1 inputs, got 0"
        with pytest.raises(RequestError) as caught:
            opened(1, [bytes(47)])
        assert str(caught.value) == "input 0 of program 1 of dense takes 48 bytes, got 47"
        assert caught.value.status == 400
        (_, _, data), *_ = opened(0, [memoryview(struct.pack("<3f", 1, 2, 3))])
        assert data == dense(np.array([[1, 2, 3]], np.float32)).tobytes()
        opened.close()
        opened.close()
        with pytest.raises(ServeError) as closed:
            opened(0, [bytes(12)])
        assert str(closed.value) == ("the engine of dense is closed: open it again with serve.load")

    def test_warm_loads_every_program(self, bundles: dict[str, str]) -> None:
        opened = engine.open(bundle.read(bundles["dense"]))
        opened.warm()
        assert sorted(opened._loaded or ()) == [0, 1]
        opened.close()


class TestPlugins:
    def test_nothing_to_run_with(self, bundles: dict[str, str]) -> None:
        script = """
import json, sys
from serve import PluginError, bundle
from serve.runtime import engine
try:
    engine.open(bundle.read(sys.argv[1]))
except PluginError as error:
    print(json.dumps(str(error)))
"""
        assert make.python(script, bundles["dense"], bare=True, LAMDA_PJRT_PLUGIN=None) == (
            "No PJRT plugin was found and jax is not installed, so nothing here can run the "
            "bundle dense. Looked at LAMDA_PJRT_PLUGIN (not set) and for "
            "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so or "
            "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so on sys.path. Install a plugin, for example "
            "`pip install --no-deps lammps-jax-pjrt-cpu==0.11.2`, or set LAMDA_PJRT_PLUGIN to "
            "the path of a plugin's shared library."
        )

    def test_jax_where_there_is_no_plugin(self, bundles: dict[str, str]) -> None:
        calls = [(0, [rows(1)]), (1, [rows(4)])]
        flags = {"LAMDA_PJRT_PLUGIN": None, "XLA_FLAGS": "--nonsense"}
        done = run(bundles["dense"], calls, "no plugin", **flags)
        assert (done["way"], done["flags"]) == ("jax", "--nonsense")
        assert done["notes"][0].startswith("XLA_FLAGS='--nonsense' was not read: ")
        assert done["why"] == (
            f"No PJRT plugin was found, so jax {jax.__version__} runs the StableHLO."
        )
        for outputs, count in zip(done["outputs"], (1, 4), strict=True):
            np.testing.assert_array_max_ulp(arrays(outputs)[0], dense(rows(count)), 4)

    def test_a_path_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(PluginError) as caught:
            plugins.find("/no/plugin.so")
        assert str(caught.value) == (
            "plugin= names the PJRT plugin /no/plugin.so, which is not a file. Give the path of "
            "a plugin's shared library, or leave it out to search sys.path."
        )
        monkeypatch.setenv("LAMDA_PJRT_PLUGIN", "/not/here.so")
        with pytest.raises(PluginError, match="LAMDA_PJRT_PLUGIN names the PJRT plugin /not/here"):
            plugins.find()

    def test_a_file_that_is_no_plugin(self, bundles: dict[str, str], tmp_path: Any) -> None:
        path = str(tmp_path / "plugin.so")
        (tmp_path / "plugin.so").write_bytes(b"not a library")
        with pytest.raises(PluginError) as caught:
            engine.open(bundle.read(bundles["dense"]), path)
        assert str(caught.value) == (
            f"{path} is not a PJRT plugin that this machine can load: {path}: file too short. "
            "Give the path of a shared library for this machine that exports GetPjrtApi."
        )

    def test_the_digest_is_remembered(self, tmp_path: Any, cache: Any) -> None:
        path = tmp_path / "plugin.so"
        path.write_bytes(b"one")
        first = plugins.Plugin(str(path)).digest
        assert first == make.address("one")
        memory = json.loads((cache / "digests.json").read_text())
        memory[str(path)][-1] = ZEROS
        (cache / "digests.json").write_text(json.dumps(memory))
        assert plugins.Plugin(str(path)).digest == first  # this process knows it
        digests._seen.clear()
        assert plugins.Plugin(str(path)).digest == ZEROS  # believed, not read
        path.write_bytes(b"two")
        assert plugins.Plugin(str(path)).digest == make.address("two")
        digests._seen.clear()
        (cache / "digests.json").write_text("{")
        assert plugins.Plugin(str(path)).digest == make.address("two")


class TestBuild:
    def test_what_is_said_of_an_executable(self, bundles: dict[str, str]) -> None:
        plugin = plugins.find()
        assert plugin is not None
        file = make.read(bundles["dense"])["programs"][0]["stablehlo"]
        with open(os.path.join(bundles["dense"], file["path"]), "rb") as opened:
            built = build.compile_program(opened.read(), plugin)
        cost = built.said.pop("cost")
        assert built.said == {"platform": "cpu", "version": "0.115", "device": "cpu"}
        assert cost["peak_bytes"] > 0

    def test_a_program_that_is_refused(self) -> None:
        plugin = plugins.find()
        assert plugin is not None
        with pytest.raises(PluginError) as caught:
            build.compile_program(b"not StableHLO", plugin)
        found = str(caught.value)
        start = f"{plugin.path} could not compile the program: PJRT_Client_Compile failed in "
        assert found.startswith(start)
        assert found.endswith("that its PJRT is not older than the StableHLO.")

    def test_a_compiler_that_dies(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "serve" / "runtime"
        package.mkdir(parents=True)
        for folder in (package, package.parent):  # else an installed serve comes first
            (folder / "__init__.py").touch()
        (package / "build.py").write_text("import os; os.kill(os.getpid(), 4)")
        monkeypatch.setattr(apart, "ROOT", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PluginError, match="the process died of signal 4"):
            build.compile_program(b"", plugins.Plugin("/no/plugin.so"))


class TestMachine:
    def test_only_what_a_compiler_emits(self) -> None:
        lines = ["processor\t: 0", "flags\t\t: fpu avx2 hypervisor sse4_2 fma avx2", "flags\t: x"]
        assert machine.features("x86_64", lines) == ["avx2", "fma", "sse4_2"]
        assert machine.features("aarch64", ["Features : sve asimd"]) == ["asimd", "sve"]
        assert machine.features("riscv64", ["isa : rv64"]) == []

    def test_this_one(self) -> None:
        here = machine.here()
        assert here.arch == os.uname().machine
        assert here.features == sorted(here.features)
        if here.arch == "x86_64":
            assert "sse2" in here.features and "hypervisor" not in here.features
