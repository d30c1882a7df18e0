"""Targets: executables for processors, GPUs and TPUs that are not here.

With TARGETS=1 (`make faults`) the levels of x86-64 run on emulated processors that have nothing
more, by qemu of Debian, and the plugins of CUDA and of TPUs are fetched, 260 MB, to compile by.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tools
from data import CACHE, Archive, fetch
from parts import dense, rows

import lamda as lm
from lamda.compile import gpus, limits, program, targets
from serve.runtime import cache, machine, plugins

SLOW = pytest.mark.skipif(
    os.environ.get("TARGETS") != "1", reason="emulates processors, fetches 260 MB: TARGETS=1"
)
X86 = pytest.mark.skipif(machine.here().arch != "x86_64", reason="levels are of x86-64")
WHEELS = {
    "cuda": Archive(
        "jax-cuda13-pjrt==0.10.2",
        "jax_cuda13_pjrt-0.10.2-py3-none-manylinux_2_27_x86_64.whl",
        "a97e9cabe0e21d8dbcc70bd909ca1c34cd546d3ce2d94b4cd907a8d4f6179f6a",
    ),
    "tpu": Archive(
        "libtpu==0.0.52",
        "libtpu-0.0.52-cp311-cp311-manylinux_2_31_x86_64.whl",
        "f5e2e596eaea9357fbb5a6755a7a9007c6ab75bfde4a55191b03eff402971140",
    ),
}

gelu = lm.lift(jax.nn.gelu)
model = dense(64, 64, 0, "f") >> gelu >> dense(64, 64, 1, "g") >> lm.lift(jax.nn.softmax)


def mlp():
    """Eight layers of 512, the model whose size is promised."""
    layers = [dense(512, 512, seed, f"layer{seed}") >> lm.lift(jax.nn.relu) for seed in range(8)]
    return lm.compose(*layers)


def entries(directory):
    manifest = json.loads((Path(directory) / "manifest.json").read_text())
    return [entry for each in manifest["programs"] for entry in each["executables"]]


class TestNames:
    def test_every_name_is_a_target(self):
        for name in targets.names():
            made = targets.target(name)
            assert made.name == (name if ":" in name else targets.target("cpu").name)
            assert made.platform == name.partition(":")[0]

    @X86
    def test_the_default_is_what_is_common(self):
        assert targets.target("cpu") == targets.target("cpu:x86-64-v3")
        levels = [set(level) for level in targets.LEVELS.values()]
        assert levels[0] < levels[1] < levels[2]

    @X86
    def test_features_of_levels_are_those_that_a_machine_tells(self):
        line = "flags : " + " ".join(targets.LEVELS["x86-64-v4"])
        assert machine.features("x86_64", [line]) == sorted(targets.LEVELS["x86-64-v4"])

    @pytest.mark.parametrize("platform", ["cuda", "tpu"])
    def test_native_is_the_device_that_is_here(self, platform):
        """Its own client compiles, and may measure: it is told of no device, and not to tune."""
        made = targets.target(f"{platform}:native")
        assert (made.platform, made.features) == (platform, ())
        assert made.topology is None and made.processor is None
        assert "xla_gpu_autotune_level" not in dict(made.flags)
        assert made.name in targets.names()

    @pytest.mark.parametrize("gpu", gpus.GPUS)
    def test_a_gpu_is_told_to_the_compiler(self, gpu):
        text = gpus.spec(gpu)
        major, minor = gpus.GPUS[gpu]["capability"]
        assert f"cuda_compute_capability {{ major: {major} minor: {minor} }}" in text
        assert f'device_description_str: "{gpus.GPUS[gpu]["name"]}"' in text
        assert text.count("core_count") == text.count("threads_per_warp: 32") == 1


class TestWhatAnEntrySays:
    @X86
    def test_of_what_it_was_made(self, tmp_path):
        report = lm.bundle(model, tmp_path, batch=4, targets=["cpu", "cpu:native"])
        v3, native = entries(tmp_path)
        assert report.compiled == 2
        assert v3["machine"]["features"] == sorted(targets.LEVELS["x86-64-v3"])
        assert native["machine"]["features"] == machine.here().features
        for entry in (v3, native):
            assert (entry["platform"], entry["device"], entry["flags"]) == ("cpu", "cpu", {})
            assert entry["cost"]["peak_bytes"] > 4 * 64 * 64 * 2
            assert len(entry["key"]) == 71
        assert v3["key"] != native["key"]

    def test_the_address_is_that_of_what_went_in(self, tmp_path):
        one, two = (lm.bundle(model, tmp_path / d, batch=4) for d in "ab")
        assert one.bundle == two.bundle
        assert (
            lm.bundle(model, tmp_path / "c", batch=4, targets=["cpu:native"]).bundle != one.bundle
        )
        assert lm.bundle(model, tmp_path / "d", batch=2).bundle != one.bundle

    def test_a_damaged_executable_is_built_again(self, tmp_path):
        lm.bundle(model, tmp_path, batch=4)
        (entry,) = entries(tmp_path)
        (tmp_path / entry["file"]["path"]).write_bytes(b"damaged")
        assert lm.bundle(model, tmp_path, batch=4).compiled == 1

    def test_what_lies_in_the_folder_is_not_run(self, tmp_path, monkeypatch):
        for name in ("serve", "json"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')")
        monkeypatch.chdir(tmp_path)
        assert lm.bundle(model, tmp_path / "out", batch=4).compiled == 1

    def test_no_plugin_for_a_target(self, tmp_path, monkeypatch):
        monkeypatch.setitem(plugins.KNOWN, "tpu", ())
        monkeypatch.setattr(plugins, "_of_jax", lambda known: iter(()))
        with pytest.raises(lm.SpecError) as error:
            lm.bundle(model, tmp_path, batch=4, targets=["tpu:v5e"])
        assert str(error.value) == (
            "the target tpu:v5e needs a PJRT plugin for tpu: install lamda[tpu], or set "
            "LAMDA_PJRT_PLUGIN to the path of one. But for tpu:native the device need not be here."
        )
        assert not any(tmp_path.iterdir())

    def test_a_plugin_that_is_named_serves_its_own_platform_only(self, tmp_path, monkeypatch):
        for name in ("libtpu.so", "xla_cuda_plugin.so", "mine.so"):
            (tmp_path / name).touch()
        installed = plugins.find()
        monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "libtpu.so"))
        assert plugins.find(platforms=["tpu"]).path == str(tmp_path / "libtpu.so")
        assert plugins.find(platforms=["cpu"]).path == installed.path
        monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "mine.so"))
        assert plugins.find(platforms=["cpu"]).path == str(tmp_path / "mine.so")
        explicit = str(tmp_path / "xla_cuda_plugin.so")
        assert plugins.find(explicit, ["cpu"]).path == explicit


class TestLimits:
    def test_the_mlp_is_a_lambda_zip(self, tmp_path):
        report = lm.bundle(mlp(), tmp_path, batch=1, plugin=True, limit="aws-lambda-zip")
        size = report.size
        files = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        assert files == size.plugin + size.model
        assert size.model > 8 * 4 * 512 * 513
        assert size.plugin == Path(plugins.find().path).stat().st_size
        assert size.total <= limits.limits()["aws-lambda-zip"]["package"] == 262_144_000

    def test_what_a_function_imports_is_counted(self):
        import msgpack

        own = limits.runtime()
        assert own > Path(msgpack._cmsgpack.__file__).stat().st_size
        assert limits.runtime(texts=True) > own + 1_000_000

    def test_the_excess_is_exact_and_nothing_is_written(self, tmp_path, monkeypatch):
        small = dense(4, 2, 0)
        known = {"here": {"package": lm.bundle(small, tmp_path / "a", batch=1).size.total}}
        monkeypatch.setattr(limits, "limits", lambda: known)
        lm.bundle(small, tmp_path / "b", batch=1, limit="here")  # to the byte
        known["here"]["package"] -= 1_234
        with pytest.raises(lm.SpecError) as error:
            lm.bundle(small, tmp_path / "c", batch=1, limit="here")
        total, most = known["here"]["package"] + 1_234, known["here"]["package"]
        start = f"the deployed function would have {total:,} bytes, 1,234 more than the {most:,} "
        assert str(error.value).startswith(start + "that here takes: runtime ")
        assert str(error.value).endswith("Nothing was written.")
        assert not (tmp_path / "c").exists()

    def test_a_plugin_alone_can_be_too_much(self, tmp_path):
        with pytest.raises(lm.SpecError, match="more than the 50,331,648 that openwhisk takes"):
            lm.bundle(model, tmp_path / "a", batch=1, limit="openwhisk")
        assert not (tmp_path / "a").exists()

    def test_a_platform_that_is_not_known(self, tmp_path):
        with pytest.raises(lm.SpecError) as error:
            lm.bundle(model, tmp_path / "a", batch=1, limit="abacus")
        known = ", ".join(sorted(limits.limits()))
        assert str(error.value) == (
            f"platform 'abacus' is not known; those with a limit are {known}"
        )
        assert {"aws-lambda-image", "aws-lambda-zip", "openwhisk"} <= limits.limits().keys()


def test_the_command_takes_targets(tmp_path, capsys):
    from lamda.cli import main

    store = lm.Store(tmp_path / "store")
    store.put(dense(4, 2, 0), ref="small")
    start = ["bundle", "small", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    more = ["--target", "cpu:native", "--target", "cpu", "--plugin", "--limit", "aws-lambda-zip"]
    assert main([*start, *more]) == 0
    assert ", 2 compiled, " in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [e["target"] for e in entries(tmp_path / "out")] == [
        "cpu:native", targets.target("cpu").name
    ]  # fmt: skip
    (carried,) = manifest["plugins"]
    assert (carried["platform"], carried["file"]["digest"]) == ("cpu", plugins.find().digest)
    assert main([*start, "--limit", "openwhisk"]) != 0
    assert "more than the 50,331,648 that openwhisk takes" in capsys.readouterr().err


EMULATED = """
import json, sys
from serve import bundle
from serve.runtime import engine, machine
machine.CPUINFO = sys.argv[2]  # what the emulated processor has: qemu shows that of this machine
made = engine.open(bundle.read(sys.argv[1]))
((_, _, data),) = made(0, [bytes.fromhex(sys.argv[3])])
print(json.dumps([made.way, made.why, data.hex()]))
"""
PROCESSORS = {"x86-64-v2": "Nehalem", "x86-64-v3": "Haswell"}


def emulated(directory, level, folder):
    """Run a bundle on a processor that has a level of x86-64 and nothing more."""
    qemu = tools.debian("qemu-x86_64-static", ("qemu-user-static",))
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {' '.join(targets.LEVELS[level])}\n")
    # What is known of the plugin's digest: emulated, hashing 200 MB takes a minute.
    assert plugins.find().digest
    (folder / "cache").mkdir(exist_ok=True)
    shutil.copy(Path(cache.directory()) / "digests.json", folder / "cache")
    x = np.asarray(rows(4, 64))
    command = [str(qemu), "-cpu", PROCESSORS[level], sys.executable, "-c", EMULATED]
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "LAMDA_SHIM": "0",
        "LAMDA_CACHE": str(folder / "cache"),
    }  # fmt: skip
    done = subprocess.run(
        [*command, str(directory), str(cpuinfo), x.tobytes().hex()],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{level}: ended with {done.returncode}: {done.stderr[-500:]}"
    way, why, data = json.loads(done.stdout.splitlines()[-1])
    found = np.frombuffer(bytes.fromhex(data), np.float32).reshape(4, 64)
    expected = np.asarray(model(x))
    # 16 ulps of the largest number: the order of sums and the functions differ between levels.
    assert np.abs(found - expected).max() <= 16 * 2**-23 * np.abs(expected).max()
    return way, why


@SLOW
@X86
class TestEmulated:
    @pytest.mark.parametrize("level", PROCESSORS)
    def test_a_level_runs_where_there_is_nothing_more(self, tmp_path, level):
        lm.bundle(model, tmp_path / "b", batch=4, targets=[f"cpu:{level}"])
        assert emulated(tmp_path / "b", level, tmp_path)[0] == "executable"

    @pytest.mark.parametrize(("target", "level"), [
        ("cpu:x86-64-v3", "x86-64-v2"), ("cpu:native", "x86-64-v2"), ("cpu:native", "x86-64-v3"),
    ])  # fmt: skip
    def test_what_needs_more_is_not_loaded(self, tmp_path, target, level):
        made = targets.target(target)
        lm.bundle(model, tmp_path / "b", batch=4, targets=[target])
        way, why = emulated(tmp_path / "b", level, tmp_path)
        lacking = sorted(set(made.features) - set(targets.LEVELS[level]))
        assert lacking or way == "executable"
        if lacking:
            assert way == "compiled"
            expected = f"the executable needs {' '.join(lacking)}, which this machine lacks."
            assert why.endswith(expected)


SERVED = """
import json, sys
from serve import bundle
from serve.runtime import engine
made = engine.open(bundle.read(sys.argv[1]))
((_, _, data),) = made(0, [bytes(4 * 4 * 64)])
print(json.dumps([made.way, made.notes]))
"""


def package(platform):
    """A folder for sys.path with a plugin in it."""
    archive = fetch(WHEELS[platform])
    folder = CACHE / "plugins" / WHEELS[platform].sha256[:16]
    if not folder.exists():
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(draft)
        draft.rename(folder)
    return str(folder)


@SLOW
@X86
class TestDevicesThatAreNotHere:
    @pytest.mark.parametrize(("name", "device"), [
        ("cuda:h100", "NVIDIA H100 80GB HBM3"), ("cuda:l4", "NVIDIA L4"),
        ("tpu:v5e", "TPU v5 lite"), ("tpu:v6e", "TPU v6 lite"),
    ])  # fmt: skip
    def test_programs_are_compiled_for_them(self, tmp_path, monkeypatch, name, device):
        platform = name.partition(":")[0]
        monkeypatch.syspath_prepend(package(platform))
        report = lm.bundle(mlp(), tmp_path, batch=4, targets=[name, "cpu"])
        first, second = entries(tmp_path)
        assert report.compiled == 2
        assert (first["platform"], first["device"]) == (platform, device)
        assert first["cost"]["peak_bytes"] > 8 * 4 * 512 * 512
        assert second["platform"] == "cpu"
        if platform == "tpu":
            assert first["cost"]["flops"] > 2 * 4 * 512 * 512  # the body of a loop counts once
            assert first["cost"]["code_bytes"] > 0
        assert lm.bundle(mlp(), tmp_path, batch=4, targets=[name, "cpu"]).compiled == 0

    @pytest.mark.parametrize("installed", [True, False])
    def test_the_cpu_serves_where_there_is_no_gpu(self, tmp_path, monkeypatch, installed):
        if any(Path("/dev").glob("nvidia[0-9]*")):
            pytest.skip("there is a GPU here")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(package("cuda"))
            lm.bundle(model, tmp_path, batch=4, targets=["cuda:h100", "cpu"])
        paths = [str(Path(__file__).parents[1]), *([package("cuda")] if installed else [])]
        done = subprocess.run(
            [sys.executable, "-c", SERVED, str(tmp_path)], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        way, (note,) = json.loads(done.stdout.splitlines()[-1])
        assert way == "executable"
        if installed:
            assert note.startswith("Passed over ") and "No visible GPU devices" in note
        else:
            assert note == "The bundle is for cuda first, and no plugin for it was found."


def test_the_same_program_for_all_of_a_platform():
    at = program.of(model).at({"b": 4})
    assert program.stablehlo(at) == program.stablehlo(at, "cpu")
    assert jnp.isfinite(model(rows(4, 64))).all()
