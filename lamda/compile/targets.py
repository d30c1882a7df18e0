"""Targets: what the name of one means, to the compiler and to whoever loads the executable.

``cpu``                the widest processor that is common: ``cpu:x86-64-v3``, or ``cpu:native``
``cpu:x86-64-v2``      any processor of that level (also ``v3``, ``v4``) and nothing more
``cpu:native``         this machine, with all that its processor can do
``cuda:h100``          a GPU that need not be here (also ``t4 a100 l4 h200``)
``tpu:v5e``            one TPU chip that need not be here (also ``v4 v5p v6e``)
``cuda:native``        the GPU that is here, with kernels chosen by measuring on it
``tpu:native``         the TPU chip that is here
"""

import os
import sys
from typing import NamedTuple

from lamda import errors
from lamda.compile import gpus
from serve.runtime import machine

# Levels of the psABI of x86-64, by the names of Linux, as far as `machine.here` tells them.
# Source: https://gitlab.com/x86-psABIs/x86-64-ABI, "Micro-architecture levels".
_V2 = ("cmov", "cx16", "cx8", "lahf_lm", "mmx", "pni", "popcnt", "sse", "sse2", "sse4_1", "sse4_2",
       "ssse3")  # fmt: skip
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
LEVELS = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
TRIPLE = "x86_64-unknown-linux-gnu"

# One chip of each, by the names that libtpu has for them.
CHIPS = {"v4": "v4:1x1x1", "v5e": "v5e:1x1", "v5p": "v5p:1x1x1", "v6e": "v6e:1x1"}


class Target(NamedTuple):
    """What executables are compiled for."""

    name: str
    platform: str
    features: tuple[str, ...]
    """The instruction sets that the host must have, sorted."""
    processor: dict[str, str] | None = None
    """LLVM's name of a processor that is not this one."""
    topology: tuple[str, dict[str, str]] | None = None
    """The plugin's name of devices that need not be here, and what it has to be told of them."""
    flags: tuple[tuple[str, str], ...] = ()
    """Flags of XLA that it needs."""

    @property
    def arch(self) -> str:
        """The architecture of the host."""
        return machine.here().arch


def target(name: str) -> Target:
    """The target of that name.

    >>> target("cpu:x86-64-v3").processor["name"]
    'x86-64-v3'

    Raises SpecError, which lists the names there are.
    """
    platform, _, kind = name.partition(":")
    here = machine.here()
    if platform == "cpu":
        kind = kind or ("x86-64-v3" if here.arch == "x86_64" else "native")
        if kind == "native":
            return Target("cpu:native", "cpu", tuple(here.features))
        if kind in LEVELS and here.arch == "x86_64":
            processor = {"triple": TRIPLE, "name": kind, "features": ""}
            return Target(f"cpu:{kind}", "cpu", tuple(sorted(LEVELS[kind])), processor)
    if platform == "cuda" and kind in gpus.GPUS:
        options = {"target_config": gpus.spec(kind), "topology": "1x1x1"}
        # Without a GPU there is nothing to measure kernels on.
        flags = (("xla_gpu_autotune_level", "0"), *_cuda_tools())
        return Target(name, "cuda", (), None, (kind, options), flags)
    if name == "cuda:native":
        return Target(name, "cuda", (), flags=_cuda_tools())
    if platform == "tpu" and kind in CHIPS:
        return Target(name, "tpu", (), None, (CHIPS[kind], {}))
    if name == "tpu:native":
        return Target(name, "tpu", ())
    raise errors.SpecError(errors.UNKNOWN_TARGET.format(given=name, known=", ".join(names())))


def names() -> list[str]:
    """The name of every target that can be built on this machine."""
    levels = LEVELS if machine.here().arch == "x86_64" else ()
    return [
        "cpu",
        *(f"cpu:{level}" for level in levels),
        "cpu:native",
        *(f"cuda:{gpu}" for gpu in (*gpus.GPUS, "native")),
        *(f"tpu:{chip}" for chip in (*CHIPS, "native")),
    ]


def _cuda_tools() -> tuple[tuple[str, str], ...]:
    """The flag that tells where ptxas and libdevice are: where PyPI puts them.

    Where they are not installed, the executable holds PTX, and the driver compiles it when it is
    loaded.
    """
    tools = [os.path.join(path, "nvidia", "cu13") for path in sys.path]
    return tuple(("xla_gpu_cuda_data_dir", path) for path in tools if os.path.isdir(path))[:1]
