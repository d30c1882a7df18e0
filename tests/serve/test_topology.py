"""Topologies: code is made for the processor that is named, and for nothing beyond it."""

from __future__ import annotations

import os
from typing import Any

import make
import numpy as np
import pytest

from serve.errors import PluginError
from serve.runtime import build, machine, options, plugins, proto, topology
from serve.runtime.client import Client
from serve.runtime.program import Program

TRIPLE = "x86_64-unknown-linux-gnu"

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="levels are of x86-64")


@pytest.fixture(scope="module")
def plugin() -> plugins.Plugin:
    found = plugins.find()
    assert found is not None, "install a plugin: pip install --no-deps lammps-jax-pjrt-cpu"
    return found


@pytest.fixture(scope="module")
def client(plugin: plugins.Plugin) -> Any:
    made = Client(plugin.path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The StableHLO of `dense` at four rows."""
    directory = make.dense(tmp_path_factory.mktemp("dense"), executables=False)
    file = make.read(directory)["programs"][1]["stablehlo"]
    with open(os.path.join(directory, file["path"]), "rb") as opened:
        return opened.read()


def processor(data: bytes) -> dict[int, Any]:
    """The machine that a serialised topology of a CPU names: triple, name, features."""
    whole = dict(proto.parse(data))
    wrapped = dict(proto.parse(whole[topology._SPECIFIC]))  # type: ignore[arg-type]
    cpu = dict(proto.parse(wrapped[topology._ANY_VALUE]))  # type: ignore[arg-type]
    return dict(proto.parse(cpu[topology._MACHINE]))  # type: ignore[arg-type]


def test_a_topology_survives_its_bytes(client: Client) -> None:
    data = topology.own(client).serialise()
    made = topology.deserialised(client.api, data)
    assert processor(made.serialise()) == processor(data)
    assert (made.platform, made.kind) == ("cpu", "cpu") == (client.platform, client.kind)
    made.close()


def test_only_the_processor_is_another(client: Client) -> None:
    name = {"triple": TRIPLE, "name": "x86-64-v2", "features": "+popcnt"}
    mine, other = topology.own(client).serialise(), topology.retargeted(client, name)
    found = processor(other.serialise())
    assert [found[n] for n in (1, 2, 3)] == [TRIPLE.encode(), b"x86-64-v2", b"+popcnt"]
    assert processor(mine) != found
    assert len(proto.parse(other.serialise())) == len(proto.parse(mine))
    other.close()


def test_a_topology_of_another_form_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "_MACHINE", 77)
    with pytest.raises(PluginError) as caught:
        topology.retargeted(client, {"triple": TRIPLE, "name": "x86-64-v3", "features": ""})
    assert str(caught.value) == (
        f"{client.api.path} describes its machine in a way that is not known here: expected one "
        "field 77, found 0. Write the bundle with the target cpu:native, or with another plugin."
    )


def test_the_answer_of_every_level_is_that_of_this_machine(
    client: Client, plugin: plugins.Plugin, program: bytes
) -> None:
    from lamda.compile.targets import LEVELS

    here = set(machine.here().features)
    x = np.linspace(-3, 5, 12, dtype=np.float32).reshape(4, 3)
    weights = [np.ascontiguousarray(weight) for weight in make.dense_weights()]
    answers = {}
    for level in (None, *(name for name, needs in LEVELS.items() if here >= set(needs))):
        wanted = level and {"triple": TRIPLE, "name": level, "features": ""}
        made = build.compile_program(program, plugin, processor=wanted)
        held = [client.place(w.ctypes.data, str(w.dtype), w.shape) for w in weights]
        loaded = Program(client, client.load(made.executable), held, [("float32", (4, 3))])
        ((_, _, answers[level]),) = loaded([x.tobytes()])
        loaded.close()
        for buffer in held:
            client.free(buffer)
    wanted = np.frombuffer(answers[None], np.float32)
    for level, data in answers.items():
        # Before v3 there is no fused multiply-add, which rounds once where others round twice.
        ulps = 4 if level == "x86-64-v2" else 0
        np.testing.assert_array_max_ulp(np.frombuffer(data, np.float32), wanted, ulps)


def test_a_name_that_is_not_known(client: Client) -> None:
    with pytest.raises(PluginError, match="PJRT_TopologyDescription_Create failed"):
        topology.named(client.api, "abacus", {"beads": "10"})


def test_what_is_known_of_an_executable(client: Client, program: bytes) -> None:
    made = topology.own(client).compile(program, options.encode())
    assert made.outputs() == [("float32", (4, 2))]
    assert made.cost()["peak_bytes"] > 0
    made.close()
