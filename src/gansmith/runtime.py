"""The machine: device, precision, seeds and memory allocation. What a recipe leaves out.

Used by everything that computes; knows nothing of networks or data.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gansmith import ranks
from gansmith.errors import UsageError
from gansmith.facts import MachineFacts
from gansmith.settings import Precision

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_MMAP_MAX = 65_536
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""What glibc's threshold has grown to once a block of that size was freed; trimming starts at twice that."""
PROBE_CHANNELS, PROBE_SIDE, PROBE_BATCH, PROBE_SECONDS = 128, 16, 32, 0.2
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device: "cpu", "cuda", "cuda:1", or for "auto" a GPU if there is one. On a GPU, `use_ieee_float32`.

    Raises:
        UsageError: there is no such device on this machine; the message says what there is.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: not a device; write auto, cpu, cuda or cuda:0") from None
    if (device.index or 0) >= {"cpu": 1, "cuda": gpus}.get(device.type, 0):
        there_is = f"cpu and {gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "cpu, and no GPU that torch can use"
        raise UsageError(f"--device {name}: this machine has {there_is}")
    if device.type == "cuda":
        use_ieee_float32()
    return device


@contextmanager
def joined_device(name: str) -> Iterator[torch.device]:
    """Choose the device; where torchrun started this process as one of several, join the others, each on its own GPU.

    Raises:
        UsageError: as `choose_device`.
    """
    if not ranks.were_launched():
        yield choose_device(name)
        return
    uses_gpus = name != "cpu" and torch.cuda.is_available()
    with ranks.joined("cuda" if uses_gpus else "cpu"):
        device = choose_device(f"cuda:{ranks.local_rank()}" if uses_gpus and name in ("auto", "cuda") else name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        yield device


def use_ieee_float32() -> None:
    """Let float32 be float32 on GPUs too: no TF32, which rounds the factors of convolutions to 10 bits by default.

    Losses, penalties and statistics are in float32 because bfloat16 is too coarse for them, and a recipe in float32 is
    one that is to be exact. Whoever wants speed has bfloat16, which `best_precision` takes on every GPU with TF32.
    For the whole process.
    """
    torch.backends.cudnn.allow_tf32 = False  # older; torch raises where it is read and disagrees with the newer ones
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]


def precision_text(device: torch.device, precision: Precision) -> str:
    """Return what is computed in which precision, for the first line of a run."""
    tf32 = ", float32 without TF32" if device.type == "cuda" else ""
    return f"{precision} on {device}{tf32}"


def best_precision(device: torch.device) -> Precision:
    """Return "bfloat16" where the device computes it in hardware, else "float32"."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def supported_precision(precision: Precision, device: torch.device) -> Precision:
    """Return a recipe's precision where the device computes it in hardware, else "float32": emulated is far slower."""
    return precision if precision == best_precision(device) else "float32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which convolutions and matrix products run in `precision`."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "float32")


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which everything is computed in float32, whatever `autocast` is around it."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def at_least_float32(values: Tensor) -> Tensor:
    """Return the values in float32, or as they are where they are float64."""
    return values if values.dtype == torch.float64 else values.float()


def seed_of(*parts: int | str) -> int:
    """Return a 63-bit seed that is a fixed function of these parts, the same on every machine and version."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_for(device: torch.device, *parts: int | str) -> torch.Generator:
    """Return a random generator on `device` seeded by `seed_of(*parts)`."""
    return torch.Generator(device).manual_seed(seed_of(*parts))


def seed_global_generator(seed: int, device: torch.device) -> None:
    """Seed the generator that torch draws from where none is named, for this device alone.

    Seeding that of every kind of device, as `torch.manual_seed` does, takes 0.7 ms.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # not the current one, where --device cuda:1 is given
            torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def keep_large_allocations() -> None:
    """Make glibc reuse large blocks instead of mapping and faulting them anew in each step (about 150 MB more).

    1.25 to 1.8 times faster steps for 32x32 networks on a CPU. Does nothing where there is no glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def use_default_allocations() -> None:
    """Undo `keep_large_allocations`, for a comparison with code that has not called it, and give back what is free.

    glibc's threshold moves by itself until it is set for the first time; it is set to where it moves at the most.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, _MMAP_MAX)
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
    return_free_memory()


def return_free_memory() -> None:
    """Give what has been freed back to the system now; glibc would keep up to hundreds of megabytes for later."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def machine_facts(device: torch.device) -> dict[str, Any]:
    """Return what bit-for-bit repetition depends on: torch version, threads, processor, device, number of ranks; of a
    GPU also what convolutions and matrix products of float32 values are computed in.
    """
    facts = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": f"{torch.cpu.get_capabilities().get('cpu_name', platform.processor())} {_vector_units()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "ranks": ranks.current().size,
    }
    if device.type == "cuda":
        backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
        facts["float32"] = ", ".join(backend.fp32_precision for backend in backends)
    return facts


def _vector_units() -> str:
    return f"{torch.backends.cpu.get_cpu_capability()}{' AMX' if has_matrix_units() else ''}"


@functools.cache
def has_matrix_units() -> bool:
    """Return whether the processor multiplies matrices in bfloat16 in units of their own (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def measure_machine(device: torch.device, probe: bool = True) -> MachineFacts:
    """Return what a recipe may depend on; a convolution is timed for a fraction of a second, unless `probe` is false,
    which leaves its speed at 0.
    """
    precision = best_precision(device)
    is_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_gpu else f"{torch.get_num_threads()} CPU threads"
    return MachineFacts(
        name, precision, _convolution_gflops(device, precision) if probe else 0.0, available_memory(device)
    )


@torch.no_grad()
def _convolution_gflops(device: torch.device, precision: Precision) -> float:
    channels, side, batch, taps = PROBE_CHANNELS, PROBE_SIDE, PROBE_BATCH, 9
    weight = torch.ones(channels, channels, 3, 3, device=device, dtype=DTYPES[precision])
    maps = torch.ones(batch, channels, side, side, device=device, dtype=DTYPES[precision])
    maps = maps.to(memory_format=torch.channels_last)
    times: list[float] = []
    while sum(times) < PROBE_SECONDS:
        started = time.perf_counter()
        result = torch.nn.functional.conv2d(maps, weight, padding=1)
        float(result[0, 0, 0, 0])  # waits for the device
        times.append(time.perf_counter() - started)
    return 2.0 * batch * side**2 * channels**2 * taps / min(times) / 1e9


def available_memory(device: torch.device) -> int:
    """Return the bytes that this process may still take: of the GPU, or of the machine, its control group (a container)
    and the process's own limit, whichever is least.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [*_system_memory(), *_control_group_memory(), *_address_space()]
    return min(limits, default=2**63)


def _system_memory() -> list[int]:
    text = _read("/proc/meminfo")
    found = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:")]
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    return found


def _control_group_memory() -> list[int]:
    """Version 2 of control groups, then version 1, as seen from inside a container."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        texts = _read(f"/sys/fs/cgroup/{limit}"), _read(f"/sys/fs/cgroup/{used}")
        if all(text.strip().isdigit() for text in texts):
            return [max(0, int(texts[0]) - int(texts[1]) + _reclaimable(Path(limit).parent))]
    return []


def _reclaimable(group: Path) -> int:
    """Return the bytes of files that the control group caches and would let go: they count as used."""
    lines = [line.split() for line in _read(f"/sys/fs/cgroup/{group / 'memory.stat'}").splitlines()]
    return sum(int(line[1]) for line in lines if line[0] in ("inactive_file", "active_file"))


def _address_space() -> list[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _read("/proc/self/statm").split()
    if limit == resource.RLIM_INFINITY or not used:
        return []
    return [max(0, limit - int(used[0]) * os.sysconf("SC_PAGE_SIZE"))]


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes this process holds: of the GPU if that is the device, else of the machine; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    fields = _read("/proc/self/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else None
