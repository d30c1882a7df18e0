"""What this machine's processor can do, as far as compiled code depends on it."""

from __future__ import annotations

import os

CPUINFO = "/proc/cpuinfo"

# The instruction sets that a compiler emits by itself, by the names Linux gives them. Flags for
# the kernel, for virtual machines and for caches are left out: a machine may lack them.
_FAMILIES = ("sse", "ssse", "avx", "amx", "sha")
_SINGLES = {
    "abm", "adx", "aes", "bmi1", "bmi2", "cmov", "cx16", "cx8", "f16c", "fma", "fma4", "gfni",
    "lahf_lm", "mmx", "movbe", "pclmulqdq", "pni", "popcnt", "sm3", "sm4", "tbm", "vaes",
    "vpclmulqdq", "xop",
}  # fmt: skip


class Machine:
    """An architecture, and the sorted names of its instruction sets."""

    __slots__ = ("arch", "features")

    def __init__(self, arch: str, features: list[str]) -> None:
        self.arch = arch
        self.features = features


def here() -> Machine:
    """The machine that this process runs on."""
    arch = os.uname().machine
    try:
        # Unbuffered: the file is made as it is read, and the first processor is enough.
        with open(CPUINFO, "rb", buffering=0) as file:
            lines = file.read(1 << 14).decode("ascii", "replace").splitlines()
    except OSError:
        lines = []
    return Machine(arch, features(arch, lines))


def features(arch: str, lines: list[str]) -> list[str]:
    """The instruction sets in the lines of a cpuinfo file.

    >>> features("x86_64", ["flags\\t: fpu avx2 hypervisor fma", "bugs: x"])
    ['avx2', 'fma']
    >>> features("aarch64", ["Features\\t: fp asimd sve"])
    ['asimd', 'fp', 'sve']
    """
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return sorted({flag for flag in value.split() if _emitted(flag)})
        if key.strip() == "Features":
            return sorted(set(value.split()))
    return []


def _emitted(flag: str) -> bool:
    return flag in _SINGLES or flag.startswith(_FAMILIES)
