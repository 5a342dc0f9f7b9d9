"""What a process may be denied: room on the disk, memory, the right to write, a module. Called in it, but for disks."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CAPABILITY_VERSION = 0x20080522


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real file system of so many bytes (tmpfs) at `folder`, made if need be; needs the right to mount one."""
    folder.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no right to mount a small disk ({made.stderr.strip()}); the limit on file sizes is tested")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room there is, and return the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 2**12):
                pass
        except OSError:
            pass
    return filler


def files_up_to_30_kb() -> None:
    """No file may grow above 30 kB, until somebody raises the limit: a write fails as on a full disk (EFBIG)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def as_nobody_special() -> None:
    """Give up root's right to write anywhere; permissions count then."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        assert ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) == 0


def limit_memory(num_bytes: int) -> None:
    """Leave so many bytes to take, beyond what the process has mapped now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + num_bytes, used + num_bytes))


def half_a_gigabyte() -> None:
    limit_memory(500 * 2**20)


def without_extras() -> None:
    """As if only the bare package were installed."""
    for name in ("tensorboard", "tensorboardX", "torch.utils.tensorboard", "datasets", "huggingface_hub"):
        sys.modules[name] = None  # type: ignore[assignment]
