"""Our binding against pypjrt: its table of the PJRT C API, made by libclang, and its answers.

pypjrt is an oracle here and nothing else. It runs in a process of its own, so that the two clients
share no state of the plugin.
"""

from __future__ import annotations

import ctypes
import json
import re
from typing import Any

import make
import numpy as np
import pytest
from pypjrt._abi import pjrt_0_114 as generated

from serve import bundle
from serve.runtime import api, device, engine, frame, plugins

STRUCTS = {
    **{name: f"PJRT_{name}_Args" for name in api.FUNCTIONS},
    **{name: f"PJRT_{name}" for name in api.STRUCTS},
}

ORACLE = """
import json, os, sys
from pypjrt import Client, Plugin

def read(file):
    with open(os.path.join(directory, file["path"]), "rb") as opened:
        return opened.read()

plugin, directory, sent = sys.argv[1:]
manifest = json.load(open(os.path.join(directory, "manifest.json")))
packs = [read(pack) for pack in manifest["weights"]["packs"]]
arguments = [
    (packs[t["pack"]][t["offset"] : t["offset"] + t["size"]], t["dtype"], t["shape"])
    for t in manifest["weights"]["tensors"]
] + [(bytes.fromhex(data), dtype, shape) for data, dtype, shape in json.loads(sent)]
types = {"float32": 11, "int32": 4, "bool": 1}
program = manifest["programs"][1]
client = Client(Plugin(plugin))
answers = {}
with client.device() as device:
    buffers = [
        client.buffer_from_host(bytearray(data or 1), types[dtype], shape, device)
        for data, dtype, shape in arguments
    ]
    for way, executable in (
        ("executable", client.deserialize_executable(read(program["executables"][0]["file"]))),
        ("compiled", client.compile(read(program["stablehlo"]))),
    ):
        answers[way] = [bytes(output.to_host()).hex() for output in executable(*buffers)]
print(json.dumps(answers))
"""


def test_the_version() -> None:
    assert (generated.PJRT_API_MAJOR, generated.PJRT_API_MINOR) == (0, 114)


@pytest.mark.parametrize("name", api.FUNCTIONS)
def test_the_slot_of_a_function(name: str) -> None:
    assert api.FUNCTIONS[name][0] == generated.SLOT[f"PJRT_{name}"]


@pytest.mark.parametrize("name", STRUCTS)
def test_the_layout_of_a_struct(name: str) -> None:
    """The same fields at the same offsets. The last may be left out: zeros stand for them."""
    made = api.struct(name)
    expected: Any = getattr(generated, STRUCTS[name])
    fields = [field for field, *_ in made._fields_ if field != "padding"]
    ours = [(field, getattr(type(made), field).offset) for field in fields]
    theirs = [
        (re.sub(r"_anon\d+", "value", field), getattr(expected, field).offset)
        for field, *_ in expected._fields_
    ]
    assert ours == theirs[: len(ours)]
    assert made.struct_size == ctypes.sizeof(made) >= ctypes.sizeof(expected)
    if len(ours) == len(theirs):
        size = ctypes.sizeof(made) - api.PADDING * frame.WORD
        assert size == -(-ctypes.sizeof(expected) // frame.WORD) * frame.WORD


def test_the_words_that_calls_write() -> None:
    """The numbers that stand for fields in frames, which have no names there."""

    def word(struct: str, field: str) -> int:
        return getattr(getattr(generated, f"PJRT_{struct}_Args"), field).offset // frame.WORD

    firsts = {
        "Event_Await": "event", "Event_Destroy": "event", "Buffer_Destroy": "buffer",
        "Buffer_OpaqueDeviceMemoryDataPointer": "buffer", "Buffer_ToHostBuffer": "src",
    }  # fmt: skip
    assert {word(struct, field) for struct, field in firsts.items()} == {frame.FIRST}
    pointer = word("Buffer_OpaqueDeviceMemoryDataPointer", "device_memory_ptr")
    assert pointer == frame.SECOND
    host = "Client_BufferFromHostBuffer"
    fields = [word(host, field) for field in ("data", "done_with_host_buffer", "buffer")]
    assert fields == [device.DATA, device.DONE, device.BUFFER]
    assert word("Buffer_ToHostBuffer", "event") == device.COPIED


def test_the_numbers() -> None:
    types = {
        "bool": "PRED", "bfloat16": "BF16",
        **{f"int{bits}": f"S{bits}" for bits in (8, 16, 32, 64)},
        **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
        **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    }  # fmt: skip
    expected = {ours: getattr(generated, f"PJRT_Buffer_Type_{its}") for ours, its in types.items()}
    assert expected == api.TYPES
    semantics = "PJRT_HostBufferSemantics_kImmutable"
    assert getattr(generated, semantics + "OnlyDuringCall") == api.COPY_DURING_CALL
    assert getattr(generated, semantics + "ZeroCopy") == api.ZERO_COPY
    assert generated.VTABLE_OFFSET == api.SLOTS_OFFSET
    version: Any = generated.PJRT_Api
    at = version.pjrt_api_version.offset
    parts: Any = generated.PJRT_Api_Version
    assert at + parts.major_version.offset == api.MAJOR_OFFSET
    assert at + parts.minor_version.offset == api.MINOR_OFFSET


def test_the_answers(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same executable, the same bits; compiled from the StableHLO there, the same as well."""
    monkeypatch.setenv("LAMDA_CACHE", str(tmp_path / "cache"))
    plugin = plugins.find()
    assert plugin is not None
    ids = np.arange(8, dtype=np.int32).reshape(2, 4) * 9
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    asked = {make.add_one: [x], make.dense: [x], make.pair: [ids, ids % 2 == 0]}
    for write, inputs in asked.items():
        directory = write(tmp_path / write.__name__)
        made = engine.open(bundle.read(directory))
        ours = [data.hex() for _, _, data in made(1, [i.tobytes() for i in inputs])]
        made.close()
        sent = json.dumps([(i.tobytes().hex(), i.dtype.name, i.shape) for i in inputs])
        theirs = make.python(ORACLE, plugin.path, directory, sent)
        assert theirs == {"executable": ours, "compiled": ours}
