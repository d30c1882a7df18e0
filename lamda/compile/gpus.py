"""GPUs that programs are compiled for without one: what the compiler has to know of each.

The numbers are those of cudaGetDeviceProperties and of the data sheets; those that most GPUs share
are in COMMON. The compiler uses them to choose sizes of tiles and to weigh fusions: code that it
makes is right for the compute capability alone, whatever they say.

Sources: CUDA C++ Programming Guide, "Compute Capabilities"; NVIDIA's data sheets of T4, A100, L4,
H100 and H200; the message is xla/stream_executor/device_description.proto of openxla/xla.
"""

from typing import Any

GPUS: dict[str, dict[str, Any]] = {
    "t4": {
        "name": "Tesla T4", "capability": (7, 5), "core_count": 40, "fpus_per_core": 64,
        "threads_per_core_limit": 1024, "shared_memory_per_core": 64 << 10,
        "shared_memory_per_block_optin": 64 << 10, "l2_cache_size": 4 << 20,
        "device_memory_size": 15 << 30, "memory_bandwidth": 320_000_000_000,
        "clock_rate_ghz": 1.59,
    },
    "a100": {
        "name": "NVIDIA A100-SXM4-80GB", "capability": (8, 0), "core_count": 108,
        "fpus_per_core": 64, "threads_per_core_limit": 2048, "shared_memory_per_core": 164 << 10,
        "shared_memory_per_block_optin": 163 << 10, "l2_cache_size": 40 << 20,
        "device_memory_size": 79 << 30, "memory_bandwidth": 2_039_000_000_000,
        "clock_rate_ghz": 1.41,
    },
    "l4": {
        "name": "NVIDIA L4", "capability": (8, 9), "core_count": 58, "fpus_per_core": 128,
        "threads_per_core_limit": 1536, "shared_memory_per_core": 100 << 10,
        "shared_memory_per_block_optin": 99 << 10, "l2_cache_size": 48 << 20,
        "device_memory_size": 22 << 30, "memory_bandwidth": 300_000_000_000,
        "clock_rate_ghz": 2.04,
    },
    "h100": {
        "name": "NVIDIA H100 80GB HBM3", "capability": (9, 0), "core_count": 132,
        "fpus_per_core": 128, "threads_per_core_limit": 2048, "shared_memory_per_core": 228 << 10,
        "shared_memory_per_block_optin": 227 << 10, "l2_cache_size": 50 << 20,
        "device_memory_size": 79 << 30, "memory_bandwidth": 3_352_000_000_000,
        "clock_rate_ghz": 1.98,
    },
    "h200": {
        "name": "NVIDIA H200", "capability": (9, 0), "core_count": 132,
        "fpus_per_core": 128, "threads_per_core_limit": 2048, "shared_memory_per_core": 228 << 10,
        "shared_memory_per_block_optin": 227 << 10, "l2_cache_size": 50 << 20,
        "device_memory_size": 140 << 30, "memory_bandwidth": 4_800_000_000_000,
        "clock_rate_ghz": 1.98,
    },
}  # fmt: skip

COMMON = {
    "threads_per_block_limit": 1024, "threads_per_warp": 32,
    "block_dim_limit_x": 2**31 - 1, "block_dim_limit_y": 65535, "block_dim_limit_z": 65535,
    "registers_per_core_limit": 65536, "registers_per_block_limit": 65536,
    "shared_memory_per_block": 48 << 10,
}  # fmt: skip


def spec(gpu: str) -> str:
    """The GpuTargetConfigProto of a GPU, as text."""
    facts = dict(GPUS[gpu])
    name, (major, minor) = facts.pop("name"), facts.pop("capability")
    lines = [f"  {field}: {value}" for field, value in sorted((COMMON | facts).items())]
    lines.append(f"  cuda_compute_capability {{ major: {major} minor: {minor} }}")
    body = "\n".join(lines)
    return (
        f'gpu_device_info {{\n{body}\n}}\nplatform_name: "CUDA"\ndevice_description_str: "{name}"\n'
    )
