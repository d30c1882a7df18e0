"""What is damaged, hostile or missing: an answer that is right, or words, and never a signal.

Every fault is met in a process of its own. Its exit code is 0, with the right answer, or 1, with
an error that says what was expected and what to do; and what was there is there afterwards.
`make faults` adds what needs another plugin, another processor, or much time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import broken
import jax
import make
import numpy as np
import pytest
from broken import Done, needs_mounts, needs_root, slow

from serve import bundle
from serve.errors import BundleError
from serve.runtime import plugins

ONE, FOUR = "[[1, 2, 3]]", "[[1, 2, 3], [0, 0, 0], [4, 5, 6]]"
ANSWERS = [[[5, 4.5]], [[5, 4.5], [1, -1], [9.5, 11.25]]]
RECOPY = "Copy the bundle again: it was cut short or changed after it was written."
REBUILD = "Write the bundle again with lm.bundle; docs/bundle.md describes the format."
BY_JAX: dict[str, Any] = {"script": broken.SERVE_BY_JAX, "LAMDA_PJRT_PLUGIN": None}
NOBODY = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
PLUGIN = "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMDA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def written(cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("bundles")
    make.dense(folder / "dense")
    make.add_one(folder / "add_one")
    changed = [weight * 2 for weight in make.dense_weights()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "dense_weights", lambda: changed)
        make.dense(folder / "doubled")
    return folder


@pytest.fixture
def copy(written: Any, tmp_path: Any) -> str:
    """A copy of `dense` for a test to damage; beside it those of `add_one` and `doubled`."""
    for name in ("dense", "add_one", "doubled"):
        shutil.copytree(written / name, tmp_path / name)
    return str(tmp_path / "dense")


def beside(directory: str, name: str) -> str:
    return os.path.join(os.path.dirname(directory), name)


def path(directory: str, which: str, index: int = 0) -> str:
    """The executable or the StableHLO of a program, or the pack."""
    value = make.read(directory)
    files = {
        "executable": lambda: value["programs"][index]["executables"][0]["file"],
        "stablehlo": lambda: value["programs"][index]["stablehlo"],
        "weights": lambda: value["weights"]["packs"][0],
    }
    return os.path.join(directory, files[which]()["path"])


def right(done: Done, way: str = "executable") -> str:
    """Hold the answers to ONE and FOUR; why they came that way."""
    for found, expected in zip(done.answers, ANSWERS, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert done.told["way"] == way
    return done.told["why"]


class TestDamage:
    @pytest.mark.parametrize("which", ["executable", "stablehlo", "weights"])
    def test_a_file_that_is_cut_short(self, which: str, copy: str) -> None:
        file = path(copy, which)
        size = os.path.getsize(file)
        broken.truncate(file)
        left = broken.snapshot(copy)
        assert broken.answer(copy, ONE).refused == (
            f"BundleError: {file} should be {size} bytes, found {size // 2}. {RECOPY}"
        )
        assert broken.snapshot(copy) == left

    @pytest.mark.parametrize("which", ["executable", "stablehlo", "weights"])
    def test_a_bit_that_is_flipped(self, which: str, copy: str, tmp_path: Any) -> None:
        file = path(copy, which)
        broken.flip(file)
        left = broken.snapshot(copy)
        done = broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(tmp_path / "cache"))
        said = f"{file} should have the digest sha256:{os.path.basename(file)[:64]}, found sha256:"
        if which == "executable":
            assert said in right(done, "compiled")
        elif which == "weights":
            assert done.refused.startswith(f"BundleError: {said}")
        else:
            right(done)  # which has not been read
            broken.edit(copy, broken.other_plugin)
            done = broken.answer(copy, ONE, LAMDA_CACHE=str(tmp_path / "cache"))
            assert done.refused.startswith(f"BundleError: {said}")
            assert done.refused.endswith(RECOPY)
        after = broken.snapshot(copy)
        assert after | {"manifest.json": ""} == left | {"manifest.json": ""}
        with pytest.raises(BundleError, match="should have the digest"):
            bundle.read(copy).verify()

    def test_executables_that_changed_places(self, copy: str) -> None:
        one, two = path(copy, "executable", 0), path(copy, "executable", 1)
        size = max(map(os.path.getsize, (one, two)))
        broken.swap(one, two)
        for file in (one, two):  # else the size says it
            os.truncate(file, size)

        def resize(manifest: Any) -> None:
            for program in manifest["programs"]:
                program["executables"][0]["file"]["size"] = size

        broken.edit(copy, resize)
        assert "should have the digest" in right(broken.answer(copy, ONE, FOUR), "compiled")

    def test_entries_that_changed_places(self, copy: str) -> None:
        """Digest, plugin and machine are right, and the program is that of other sizes."""

        def swap(manifest: Any) -> None:
            one, two = manifest["programs"]
            one["executables"], two["executables"] = two["executables"], one["executables"]

        broken.edit(copy, swap)
        why = right(broken.answer(copy, ONE, FOUR), "compiled")
        assert why.endswith(
            f"{path(copy, 'executable')} is another program: expected the outputs float32[1, 2], "
            f"as the manifest says, found float32[4, 2]. {REBUILD}"
        )

    def test_an_executable_of_other_inputs(self, copy: str, tmp_path: Any) -> None:
        """It gives what it should, and takes something else."""
        other = like_dense(tmp_path / "other", lambda _, x: x[:, :2], [])
        taken = make.read(other)["programs"]
        shutil.copytree(f"{other}/executables", f"{copy}/executables", dirs_exist_ok=True)

        def replace(manifest: Any) -> None:
            for program, its in zip(manifest["programs"], taken, strict=True):
                program["executables"] = its["executables"]

        broken.edit(copy, replace)
        why = right(broken.answer(copy, ONE, FOUR), "compiled")
        assert why.endswith(
            f"{path(copy, 'executable')} is another program: expected 48 bytes of weights and "
            f"inputs, as the manifest says, found 12. {REBUILD}"
        )

    def test_a_program_that_is_another(self, copy: str) -> None:
        def swap(manifest: Any) -> None:
            one, two = manifest["programs"]
            one["stablehlo"], two["stablehlo"] = two["stablehlo"], one["stablehlo"]
            one["executables"] = two["executables"] = []

        broken.edit(copy, swap)
        assert broken.answer(copy, ONE).refused == (
            f"BundleError: {path(copy, 'stablehlo')} is another program: expected the outputs "
            f"float32[1, 2], as the manifest says, found float32[4, 2]. {REBUILD}"
        )

    def test_a_program_that_is_another_by_jax(self, copy: str) -> None:
        other = make.add_one(beside(copy, "other"), sizes={"b": [1]}, executables=False)
        broken.edit(copy, lambda m: m["weights"].update(tensors=[]))  # so it takes the same inputs
        program = make.read(other)["programs"][0]
        shutil.copytree(f"{other}/programs", f"{copy}/programs", dirs_exist_ok=True)
        broken.edit(copy, lambda m: m["programs"][0].update(stablehlo=program["stablehlo"]))
        assert broken.answer(copy, ONE, **BY_JAX).refused == (
            f"BundleError: {path(copy, 'stablehlo')} is another program: expected the outputs "
            f"float32[1, 2], as the manifest says, found float32[1, 3]. {REBUILD}"
        )
        broken.edit(copy, lambda m: m["programs"].reverse())
        broken.edit(
            copy, lambda m: [m["programs"][i].update(sizes={"b": n}) for i, n in [(0, 1), (1, 4)]]
        )
        said = broken.answer(copy, ONE, **BY_JAX).refused
        assert said.startswith(f"PluginError: jax {jax.__version__} can not run the program ")

    def test_the_weights_of_another_bundle(self, copy: str) -> None:
        mine, other = path(copy, "weights"), path(beside(copy, "doubled"), "weights")
        assert os.path.getsize(mine) == os.path.getsize(other)
        broken.swap(mine, other)
        left = broken.snapshot(os.path.dirname(copy))
        for directory, file in ((copy, mine), (beside(copy, "doubled"), other)):
            said = broken.answer(directory, ONE).refused
            assert said.startswith(f"BundleError: {file} should have the digest sha256:")
        assert broken.snapshot(os.path.dirname(copy)) == left

    def test_the_manifest_of_another_bundle(self, copy: str) -> None:
        other = beside(copy, "add_one")
        broken.swap(f"{copy}/manifest.json", f"{other}/manifest.json")
        for directory in (copy, other):
            assert broken.answer(directory, ONE).refused.endswith(
                f" is missing, and the manifest names it. {RECOPY}"
            )


def like_dense(directory: Any, fn: Callable[[list[Any], Any], Any], weights: list[Any]) -> str:
    """A bundle of the types of `dense`."""
    return make.bundle(
        directory, fn, weights,
        input=make.array("float32", "b", 3), output=make.array("float32", "b", 2),
        sizes={"b": [1, 4]}, batch="b", example=[[1.0, 2.0, 3.0]],
    )  # fmt: skip


def tripled(weights: list[Any], x: Any) -> Any:
    kernel, bias, scale, empty = weights
    return 3 * scale * (x @ kernel + bias) + empty.sum()


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


class TestManifest:
    def test_cut_short(self, copy: str) -> None:
        file = f"{copy}/manifest.json"
        broken.truncate(file)
        said = broken.answer(copy, ONE).refused
        assert said.startswith(f"BundleError: {file} is not JSON: ") and said.endswith(RECOPY)

    def test_any_bit_that_is_flipped(self, copy: str) -> None:
        """Some flips leave a manifest, such as in a name; no other ends in anything but words."""
        file = f"{copy}/manifest.json"
        with open(file, "rb") as opened:
            whole = opened.read()
        random = np.random.default_rng(0)
        for at in random.choice(len(whole) * 8, 400, replace=False):
            data = bytearray(whole)
            data[at // 8] ^= 1 << at % 8
            with open(file, "wb") as opened:
                opened.write(data)
            try:
                bundle.read(copy).verify()
            except BundleError as error:
                assert str(error)

    @pytest.mark.parametrize("place", ["everything", "example", "input", "format", "later"])
    @pytest.mark.parametrize("levels", [101, 900, 100_000])
    def test_too_deep(self, place: str, levels: int, copy: str) -> None:
        file = f"{copy}/manifest.json"
        value = make.read(copy)
        text = deep(levels)
        if place == "input":
            text = '{"tuple":[' * levels + "]}" * levels
        if place != "everything":
            value[place] = "HERE"
            text = json.dumps(value).replace('"HERE"', text)
        with open(file, "w") as opened:
            opened.write(text)
        assert broken.answer(copy, ONE).refused == (
            f"BundleError: {file}: expected a manifest of at most 100 levels, found a deeper one. "
            + REBUILD
        )

    def test_more_combinations_than_memory(self, copy: str) -> None:
        dims = [f"d{i}" for i in range(40)]
        sizes = {"b": [1, 4]} | {dim: [*range(1, 100)] for dim in dims}
        wide = make.array("float32", "b", *dims)
        broken.edit(copy, lambda m: m.update(input=wide, sizes=sizes))
        assert broken.answer(copy, ONE).refused == (
            f"BundleError: {copy}/manifest.json: programs should be {2 * 99**40} programs, one for "
            f"each combination, found 2. {REBUILD}"
        )

    @pytest.mark.parametrize("name", ["\ud800", "a" * 5000])
    def test_a_path_that_no_file_can_have(self, name: str, copy: str) -> None:
        broken.edit(copy, lambda m: m["weights"]["packs"][0].update(path=name))
        said = broken.answer(copy, ONE).refused
        assert "is outside the bundle" in said or "can not be read: File name too long." in said

    def test_a_directory_in_its_place(self, tmp_path: Any) -> None:
        (tmp_path / "manifest.json").mkdir()
        assert broken.answer(str(tmp_path), ONE).refused == (
            f"BundleError: {tmp_path}/manifest.json can not be read: Is a directory. Expected a "
            "file that this process may read: check its permissions, or copy the bundle again."
        )

    @needs_root
    @pytest.mark.parametrize("which", ["manifest", "executable", "weights"])
    def test_a_file_that_may_not_be_read(self, which: str, written: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            copy = str(shutil.copytree(written / "dense", f"{folder}/dense"))
            file = f"{copy}/manifest.json" if which == "manifest" else path(copy, which)
            os.chmod(file, 0)
            done = broken.answer(copy, ONE, FOUR, within=NOBODY, LAMDA_CACHE=f"{folder}/none")
            said = f"{file} can not be read: Permission denied. "
            if which == "executable":
                assert said in right(done, "compiled")
            else:
                assert done.refused.startswith(f"BundleError: {said}")


TEXTS = {
    "text": (b"not a library", "file too short"),
    "long text": (b"not a library" * 1000, "invalid ELF header"),
    "empty": (b"", "file too short"),
}


class TestPlugins:
    @pytest.mark.parametrize("size", [100, 5_000, 1_000_000, 150_000_000, -1])
    def test_cut_short(self, size: int, written: Any, tmp_path: Any) -> None:
        whole = plugins.find()
        assert whole is not None
        most = os.path.getsize(whole.path)
        kept = size if size > 0 else most + size
        plugin = tmp_path / "plugin.so"
        shutil.copyfile(whole.path, plugin)
        os.truncate(plugin, kept)
        said = broken.answer(str(written / "dense"), ONE, LAMDA_PJRT_PLUGIN=str(plugin)).refused
        plugin.unlink()
        assert said == (
            f"PluginError: {plugin} is not a PJRT plugin that this machine can load: it should "
            f"have at least {most} bytes, found {kept}: install it again. Give the path of a "
            "shared library for this machine that exports GetPjrtApi."
        )

    @pytest.mark.parametrize("which", TEXTS)
    def test_no_library(self, which: str, written: Any, tmp_path: Any) -> None:
        data, reason = TEXTS[which]
        plugin = tmp_path / "plugin.so"
        plugin.write_bytes(data)
        assert broken.answer(
            str(written / "dense"), ONE, LAMDA_PJRT_PLUGIN=str(plugin)
        ).refused == (
            f"PluginError: {plugin} is not a PJRT plugin that this machine can load: {plugin}: "
            f"{reason}. Give the path of a shared library for this machine that exports GetPjrtApi."
        )

    def test_another_library(self, written: Any) -> None:
        import _ctypes

        other = os.path.realpath(_ctypes.__file__)
        said = broken.answer(str(written / "dense"), ONE, LAMDA_PJRT_PLUGIN=other).refused
        assert said.startswith(f"PluginError: {other} is not a PJRT plugin that this machine can")
        assert "undefined symbol: GetPjrtApi. Give the path" in said

    def test_one_that_is_installed_is_passed_over(self, written: Any, tmp_path: Any) -> None:
        plugin = tmp_path / PLUGIN
        plugin.parent.mkdir()
        plugin.write_bytes(b"\x7fELF")
        both = os.pathsep.join([make.ROOT, str(tmp_path)])
        done = broken.answer(
            str(written / "dense"), ONE, FOUR, PYTHONPATH=both, LAMDA_PJRT_PLUGIN=None
        )
        right(done)
        (note,) = done.told["notes"]
        assert note.startswith(f"Passed over {plugin}: {plugin} is not a PJRT plugin that this ")

    def test_one_in_the_bundle(self, copy: str) -> None:
        whole = plugins.find()
        assert whole is not None
        with open(whole.path, "rb") as opened:
            file = make.put(copy, "plugins", ".so", opened.read(5_000))
        carried = [{"platform": "cpu", "version": "0.115", "file": file}]
        broken.edit(copy, lambda m: m.update(plugins=carried))
        done = broken.answer(copy, ONE, FOUR, LAMDA_PJRT_PLUGIN=None)
        right(done)
        (note,) = done.told["notes"]
        assert note.startswith("Passed over ") and "it should have at least" in note
        broken.flip(os.path.join(copy, file["path"]))
        said = broken.answer(copy, ONE, LAMDA_PJRT_PLUGIN=None).refused
        assert f"/{file['path']} should have the digest {file['digest']}, found sha256:" in said

    def test_flags_for_xla(self, copy: str) -> None:
        broken.edit(copy, broken.other_plugin)
        known, unknown = "--xla_cpu_max_isa=AVX2", "--nonsense"
        ways = {"jax": BY_JAX, "compiled": {}}
        for flags, way in ((known, "compiled"), (unknown, "compiled"), (known, "jax")):
            done = broken.answer(copy, ONE, FOUR, XLA_FLAGS=flags, **ways[way])
            right(done, way)
            assert done.told["notes"] == [
                f"XLA_FLAGS={flags!r} was not read: "
                "a flag that XLA does not know would end the process."
            ]

    def test_jax_for_another_platform(self, written: Any) -> None:
        said = broken.answer(str(written / "dense"), ONE, JAX_PLATFORMS="cuda", **BY_JAX).refused
        assert said.startswith(
            "PluginError: No PJRT plugin was found, and jax can not run on this CPU, as "
            "JAX_PLATFORMS is 'cuda': "
        )


FLAGS = "flags\t\t: fpu cmov cx8 mmx sse sse2 sse4_1 sse4_2 ssse3 pni popcnt cx16 lahf_lm\n"


class TestTheMachine:
    @needs_mounts
    @pytest.mark.parametrize("said", ["", FLAGS])
    def test_a_processor_without_the_features(self, said: str, written: Any, tmp_path: Any) -> None:
        """An empty file stands for one that can not be read."""
        (tmp_path / "cpuinfo").write_text(said)
        within = broken.cpuinfo(tmp_path / "cpuinfo")
        why = right(broken.answer(str(written / "dense"), ONE, FOUR, within=within), "compiled")
        assert ": the executable needs " in why and " avx2 " in why
        assert why.endswith(", which this machine lacks.")

    def test_too_few_addresses(self, written: Any) -> None:
        for limit in (200_000 << 10, 400_000 << 10, 600_000 << 10):
            within = ["prlimit", f"--as={limit}"]
            said = broken.answer(str(written / "dense"), ONE, within=within).refused
            assert "may take more addresses than this process is allowed" in said
            assert said.endswith(f", found {limit >> 10}. Raise it (ulimit -v), or lift it.")
        expected = said.split("at least ")[1].split()[0]
        within = ["prlimit", f"--as={(int(expected) + 50_000) << 10}"]
        right(broken.answer(str(written / "dense"), ONE, FOUR, within=within))

    @needs_root
    def test_too_few_threads(self, written: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            copy = str(shutil.copytree(written / "dense", f"{folder}/dense"))
            within = ["prlimit", "--nproc=5", *NOBODY]
            said = broken.answer(copy, ONE, within=within, LAMDA_CACHE=f"{folder}/none").refused
        assert said.endswith("limit is 5 processes and threads. Raise it (ulimit -u).")

    @needs_root
    @pytest.mark.parametrize(("limit", "expected"), [(5, 1), (200, 0)])
    def test_threads_that_were_tried_are_over(
        self, written: Any, limit: int, expected: int
    ) -> None:
        # Left alone they are a race with the end of the process, which then ends by SIGSEGV.
        script = """
import json, sys, threading, time
from serve.errors import PluginError
from serve.runtime import limits
wait = threading.Event.wait
threading.Event.wait = lambda event, *given: (wait(event, *given), time.sleep(0.2))[0]
try:
    limits.check(sys.argv[1] + "/manifest.json")
    refused = 0
except PluginError:
    refused = 1
print(json.dumps({"refused": refused, "threads": threading.active_count()}))
"""
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            copy = str(shutil.copytree(written / "dense", f"{folder}/dense"))
            within = ["prlimit", f"--nproc={limit}", *NOBODY]
            done = broken.answer(copy, within=within, script=script)
        assert (done.code, done.told) == (0, {"refused": expected, "threads": 1}), done.stderr

    def test_few_files_may_be_open(self, written: Any) -> None:
        within = ["prlimit", "--nofile=8"]
        right(broken.answer(str(written / "dense"), ONE, FOUR, within=within))


DIGESTS = [
    "", "{", "[]", '{"%s": 7}', '{"%s": [1, 2, 3, 4, 5, {}]}', '{"%s": "abcdef"}', "[" * 100_000,
    '{"\\u0000": [0, 0, 0, 0, 0, "x"], "\\ud800": [0, 0, 0, 0, 0, "x"]}',
]  # fmt: skip


def drafts(folder: Any) -> list[str]:
    return [name for name in broken.snapshot(folder) if name.endswith(".draft")]


class TestTheDisk:
    @needs_mounts
    def test_a_full_cache(self, copy: str, tmp_path: Any) -> None:
        broken.edit(copy, broken.other_plugin)
        (tmp_path / "full").mkdir()
        script = (
            broken.SERVE
            + "import os; print(json.dumps({'way': 'compiled', 'why': '', "
            + (
                "'answers': answers, 'left': [n for _, _, ns in os.walk(os.environ['LAMDA_CACHE']) "
                "for n in ns]}))"
            )
        )
        done = broken.answer(
            copy, ONE, FOUR, within=broken.full(tmp_path / "full"), script=script,
            LAMDA_CACHE=str(tmp_path / "full"),
        )  # fmt: skip
        right(done, "compiled")
        assert done.told["left"] == ["filling"]  # and no half of a file

    def test_a_limit_on_the_size_of_files(self, copy: str, tmp_path: Any) -> None:
        broken.edit(copy, broken.other_plugin)
        own = tmp_path / "cache"
        within = ["prlimit", "--fsize=2000"]
        right(broken.answer(copy, ONE, FOUR, within=within, LAMDA_CACHE=str(own)), "compiled")
        assert drafts(own) == []
        assert os.listdir(own / "compiled") == []

    @needs_mounts
    def test_a_full_folder_for_temporary_files(self, copy: str, tmp_path: Any) -> None:
        (tmp_path / "full").mkdir()
        for way in ("executable", "compiled"):
            within = broken.full(tmp_path / "full")
            own = {"TMPDIR": str(tmp_path / "full"), "LAMDA_CACHE": str(tmp_path / "cache")}
            right(broken.answer(copy, ONE, FOUR, within=within, **own), way)
            broken.edit(copy, broken.other_plugin)

    @needs_mounts
    def test_a_disk_that_can_only_be_read(self, copy: str, tmp_path: Any) -> None:
        left = broken.snapshot(copy)
        (tmp_path / "cache").mkdir(mode=0o700)
        within = broken.mounted(
            f"mount --bind '{tmp_path}' '{tmp_path}'", f"mount -o remount,bind,ro '{tmp_path}'"
        )
        own = {"LAMDA_CACHE": str(tmp_path / "cache")}
        right(broken.answer(copy, ONE, FOUR, within=within, **own))
        assert broken.snapshot(copy) == left
        broken.edit(copy, broken.other_plugin)
        right(broken.answer(copy, ONE, FOUR, within=within, **own), "compiled")
        assert os.listdir(tmp_path / "cache") == []

    @needs_root
    def test_no_home(self, written: Any) -> None:
        """And nothing is left in the folder where the process was started."""
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            copy = str(shutil.copytree(written / "dense", f"{folder}/dense"))
            broken.edit(copy, broken.other_plugin)
            os.chmod(f"{copy}/manifest.json", 0o644)
            done = broken.answer(
                copy, ONE, FOUR, within=NOBODY, 
                script=f"import os; os.chdir('{folder}')" + broken.SERVE,
                HOME=None, LAMDA_CACHE=None,
            )  # fmt: skip
            right(done, "compiled")
            assert os.listdir(folder) == ["dense"]


@pytest.fixture(scope="module")
def poison(written: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache with programs that are, by every sign, those of `dense`, but triple the answer."""
    folder = tmp_path_factory.mktemp("poison")
    copy = str(shutil.copytree(written / "dense", folder / "dense"))
    broken.edit(copy, broken.other_plugin)
    own = folder / "cache"
    right(broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(own)), "compiled")
    other = like_dense(folder / "evil", tripled, make.dense_weights())
    evil = [Path(path(other, "executable", index)).read_bytes() for index in (0, 1)]
    names = sorted((own / "compiled").iterdir())
    for order in (evil, evil[::-1]):  # which file is which program is told by trying
        for file, data in zip(names, order, strict=True):
            file.write_bytes(hashlib.sha256(data).digest() + data)
        done = broken.answer(copy, ONE, LAMDA_CACHE=str(own))
        if done.code == 0 and done.answers != ANSWERS[:1]:
            return own
    raise AssertionError("the poison does not work, so the tests would prove nothing")


class TestTheCache:
    """It holds code, so who may write it decides what runs."""

    @pytest.fixture
    def poisoned(self, copy: str, poison: Any, tmp_path: Any) -> Any:
        """A copy of the poison, and `copy` has to be compiled."""
        broken.edit(copy, broken.other_plugin)
        return Path(shutil.copytree(poison, tmp_path / "poisoned"))

    def test_one_that_others_can_write(self, copy: str, poisoned: Any) -> None:
        for mode in (0o777, 0o770, 0o1777):
            poisoned.chmod(mode)
            left = broken.snapshot(poisoned)
            done = broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(poisoned))
            right(done, "compiled")
            assert done.told["notes"] == [
                f"The cache {poisoned} is not used: expected a directory that only this user can "
                f"write, found owner {os.geteuid()} and mode {mode:o}. Run chmod go-w on it, or "
                "set LAMDA_CACHE to another."
            ]
            assert broken.snapshot(poisoned) == left

    def test_the_folder_in_it(self, copy: str, poisoned: Any) -> None:
        (poisoned / "compiled").chmod(0o777)
        right(broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(poisoned)), "compiled")

    @needs_root
    @pytest.mark.parametrize("which", ["directory", "folder", "files"])
    def test_one_of_another_user(self, which: str, copy: str, poisoned: Any) -> None:
        chosen = {
            "directory": [poisoned],
            "folder": [poisoned / "compiled"],
            "files": [*(poisoned / "compiled").iterdir()],
        }[which]
        for each in chosen:
            os.chown(each, 54321, 54321)
        done = broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(poisoned))
        right(done, "compiled")
        assert len(done.told["notes"]) == (which == "directory")

    def test_through_a_link(self, copy: str, poisoned: Any, tmp_path: Any) -> None:
        poisoned.chmod(0o777)
        (tmp_path / "link").symlink_to(poisoned)
        right(broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(tmp_path / "link")), "compiled")

    def test_digests_that_others_can_write(self, copy: str, tmp_path: Any) -> None:
        """They would have it believe the weights of another bundle."""
        own = tmp_path / "cache"
        mine, other = path(copy, "weights"), path(beside(copy, "doubled"), "weights")
        shutil.copyfile(other, mine)
        status = os.stat(mine)
        stamp = [status.st_dev, status.st_ino, status.st_size]
        stamp += [status.st_mtime_ns, status.st_ctime_ns]
        own.mkdir(mode=0o700)
        claimed = make.read(copy)["weights"]["packs"][0]["digest"]
        (own / "digests.json").write_text(json.dumps({os.path.realpath(mine): [*stamp, claimed]}))
        (own / "digests.json").chmod(0o600)
        believed = broken.answer(copy, ONE, LAMDA_CACHE=str(own)).answers
        assert believed != ANSWERS[:1]  # its own user may deceive itself
        for file, mode in ((own / "digests.json", 0o666), (own, 0o777)):
            file.chmod(mode)
            said = broken.answer(copy, ONE, LAMDA_CACHE=str(own)).refused
            assert said.startswith(f"BundleError: {mine} should have the digest {claimed}, found")
            file.chmod(mode & ~0o022)

    @pytest.mark.parametrize("text", DIGESTS)
    def test_digests_that_are_damaged(self, text: str, copy: str, tmp_path: Any) -> None:
        (tmp_path / "cache").mkdir()
        named = text.replace("%s", os.path.realpath(path(copy, "weights")))
        (tmp_path / "cache" / "digests.json").write_text(named)
        right(broken.answer(copy, ONE, FOUR, LAMDA_CACHE=str(tmp_path / "cache")))

    def test_two_that_compile_at_once(self, copy: str, tmp_path: Any) -> None:
        broken.edit(copy, broken.other_plugin)
        own = tmp_path / "cache"
        started = [broken.start(copy, ONE, FOUR, LAMDA_CACHE=str(own)) for _ in range(4)]
        for process in started:
            stdout, stderr = process.communicate(timeout=300)
            right(Done(process.returncode, json.loads(stdout.splitlines()[-1]), stderr), "compiled")
        assert drafts(own) == []
        for file in (own / "compiled").iterdir():
            data = file.read_bytes()
            assert data[:32] == hashlib.sha256(data[32:]).digest()
        assert len(os.listdir(own / "compiled")) == 2
        os.truncate(path(copy, "stablehlo"), 0)  # not needed by any of them now


RUNNING = """
import json, os, sys
from serve import ServeError, bundle
from serve.handler import Handler
from serve.runtime import engine
read = bundle.read(sys.argv[1])
opened = engine.open(read)
handler = Handler(read, opened)
if sys.argv[3:] == ["warm"]:
    opened.warm()
first = json.loads(handler(sys.argv[2].encode()))
print("ready", flush=True)
sys.stdin.readline()
answers = [first, json.loads(handler(sys.argv[2].encode()))]
try:
    said = handler(b"[[0, 0, 0], [0, 0, 0]]").decode()
except ServeError as error:
    said = str(error)
print(json.dumps({"answers": answers, "said": said}))
"""


class TestABundleThatIsReplaced:
    """Under a process that serves it: what was loaded stays, and nothing of the new is mixed in."""

    def replace(self, copy: str, how: str) -> None:
        if how == "removed":
            shutil.rmtree(copy)
        else:
            os.rename(copy, beside(copy, "before"))
            os.rename(beside(copy, "doubled"), copy)

    @pytest.mark.parametrize("how", ["removed", "renamed"])
    @pytest.mark.parametrize("warm", [["warm"], []])
    def test_it_keeps_answering(self, how: str, warm: list[str], copy: str, tmp_path: Any) -> None:
        own = {"LAMDA_CACHE": str(tmp_path / "cache")}
        process = broken.start(copy, ONE, *warm, script=RUNNING, **own)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        self.replace(copy, how)
        stdout, stderr = process.communicate("go\n", timeout=300)
        assert process.returncode == 0, stderr
        told = json.loads(stdout)
        assert told["answers"] == ANSWERS[:1] * 2
        if warm:
            assert told["said"] == "[[1,-1],[1,-1]]"
        elif how == "removed":  # as its programs of other sizes were not loaded
            assert told["said"].endswith(f" is missing, and the manifest names it. {RECOPY}")
        else:  # the same file may be in both, by its digest; the answer is never that of the new
            missing = told["said"].endswith(f" is missing, and the manifest names it. {RECOPY}")
            assert missing or told["said"] == "[[1,-1],[1,-1]]"

    def test_a_link_to_the_newest(self, copy: str) -> None:
        """A link that is turned is followed by those that start after it, not by those before."""
        link = beside(copy, "newest")
        os.symlink(copy, link)
        process = broken.start(link, ONE, script=RUNNING)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        os.symlink(beside(copy, "doubled"), f"{link}.new")
        os.replace(f"{link}.new", link)
        stdout, stderr = process.communicate("go\n", timeout=300)
        assert process.returncode == 0, stderr
        assert json.loads(stdout) == {"answers": ANSWERS[:1] * 2, "said": "[[1,-1],[1,-1]]"}
        assert broken.answer(link, ONE).answers != ANSWERS[:1]


@slow
class TestOtherPlugins:
    """What is fetched for this has hundreds of MB."""

    def test_of_another_version(self, written: Any, tmp_path: Any) -> None:
        """Neither loads what the other compiled; both compile the StableHLO of the other."""
        relative = "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so"
        _, older = broken.fetched("xla-cpu-pjrt", "0.0.1", relative)
        own = {"LAMDA_CACHE": str(tmp_path / "cache")}
        newer = plugins.find()
        assert newer is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(plugins.VARIABLE, older)
            other = make.dense(tmp_path / "older")
        right(broken.answer(other, ONE, FOUR, LAMDA_PJRT_PLUGIN=older, **own))
        for directory, plugin in ((str(written / "dense"), older), (other, newer.path)):
            for _ in ("compiled", "kept"):
                done = broken.answer(directory, ONE, FOUR, LAMDA_PJRT_PLUGIN=plugin, **own)
                why = right(done, "compiled")
                assert why.startswith(
                    f"Compiled from StableHLO by {plugin}: the executable is for "
                )
        assert len(os.listdir(tmp_path / "cache" / "compiled")) == 4

    def test_for_a_device_that_is_not_here(self, copy: str) -> None:
        relative = plugins.KNOWN["cuda"][0]
        folder, plugin = broken.fetched("jax-cuda13-pjrt", "0.10.2", relative)
        if os.path.exists("/dev/nvidiactl"):
            pytest.skip("there is a GPU")

        def prefer(manifest: Any) -> None:
            for program in manifest["programs"]:
                (entry,) = program["executables"]
                program["executables"] = [entry | {"platform": "cuda", "device": "H100"}, entry]

        broken.edit(copy, prefer)
        both = os.pathsep.join([make.ROOT, folder])
        done = broken.answer(copy, ONE, FOUR, PYTHONPATH=both, LAMDA_PJRT_PLUGIN=None)
        right(done)
        (note,) = done.told["notes"]
        assert note.startswith(f"Passed over {plugin}: PJRT_Client_Create failed in {plugin}: ")


QEMU = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
PROCESSORS = {
    "Nehalem": "cmov cx16 cx8 lahf_lm mmx pni popcnt sse sse2 sse4_1 sse4_2 ssse3",
    "Haswell": "abm aes avx avx2 bmi1 bmi2 cmov cx16 cx8 f16c fma lahf_lm mmx movbe pclmulqdq pni "
    "popcnt sse sse2 sse4_1 sse4_2 ssse3",
}


@slow
@needs_mounts
@pytest.mark.skipif(QEMU is None, reason="install qemu-user-static")
@pytest.mark.parametrize("processor", PROCESSORS)
def test_an_emulated_processor(processor: str, written: Any, tmp_path: Any) -> None:
    """What it lacks is not loaded, where it would be a signal, and what is compiled for it runs.

    The emulator shows the /proc/cpuinfo of its host, so that of the processor is put over it.
    """
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {PROCESSORS[processor]}\n")
    within = [*broken.cpuinfo(tmp_path / "cpuinfo"), str(QEMU), "-cpu", processor]
    own = {"LAMDA_CACHE": str(tmp_path / "cache")}
    done = broken.answer(str(written / "dense"), ONE, FOUR, within=within, **own)
    (entry,) = make.read(str(written / "dense"))["programs"][0]["executables"]
    lacking = sorted({*entry["machine"]["features"]} - {*PROCESSORS[processor].split()})
    why = right(done, "compiled" if lacking else "executable")
    said = f"the executable needs {' '.join(lacking)}, which this machine lacks."
    assert why.endswith(said) or not lacking
    # And what was kept for it is not taken for this machine's.
    broken.answer(str(written / "dense"), ONE, FOUR, within=within, **own)
    kept = len(os.listdir(tmp_path / "cache" / "compiled")) if lacking else 0
    copy = str(shutil.copytree(written / "dense", tmp_path / "dense"))
    broken.edit(copy, broken.other_plugin)
    right(broken.answer(copy, ONE, FOUR, **own), "compiled")
    assert len(os.listdir(tmp_path / "cache" / "compiled")) == kept + 2
