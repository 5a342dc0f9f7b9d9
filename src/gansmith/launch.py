"""Several processes of one command on this machine, by torchrun: `gansmith train ... --ranks N`.

torchrun's agent starts the ranks, tells each where it stands, passes signals on, and starts all of them again where one
was killed; what it does beyond that is its own way of reporting, which this module translates: a rank that ends by an
error of its own leaves that error's exit code in a file and ends with 0, so that it is not started again.

`python -m gansmith.launch ARGUMENTS` is one rank: `gansmith ARGUMENTS` that goes when its launcher does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gansmith.errors import AlreadyTold, ResourceError, UsageError

MOST_RESTARTS = 3
LONGEST_STOP = 60
"""Seconds that ranks have to save after a signal, before they are killed; 30 with a torch that has no such setting."""
LAUNCHER = "GANSMITH_LAUNCHER"
_PR_SET_PDEATHSIG = 1


def check_ranks(num_ranks: int, device: str) -> None:
    """Check that this machine has what so many ranks need.

    Args:
        num_ranks: processes.
        device: as asked for: "auto", "cpu", "cuda"; a single GPU is for one process.

    Raises:
        UsageError: there is no such device, or there are fewer GPUs than ranks.
    """
    import torch

    from gansmith import runtime

    chosen = runtime.choose_device(device)
    if chosen.index is not None:
        raise UsageError(f"--device {device}: {num_ranks} ranks take a GPU each; write --device cuda")
    gpus = torch.cuda.device_count() if chosen.type == "cuda" else 0
    if chosen.type == "cuda" and gpus < num_ranks:
        has = f"{gpus} GPU{'s' if gpus > 1 else ''}"
        raise UsageError(f"--ranks {num_ranks}: this machine has {has}; --ranks {gpus}, or --device cpu")


def ran_as_ranks(arguments: Sequence[str], num_ranks: int | None, device: str) -> bool:
    """Run a command as several ranks, where it was asked to and is not one of them itself, and return whether it did.

    Args:
        arguments: of the command, checked already.
        num_ranks: as asked for; None or 1: this process does the work.
        device: as asked for.

    Raises:
        SystemExit: the command failed.
        UsageError: torchrun has started another number, or this machine lacks the GPUs.
    """
    there_are = int(os.environ.get("WORLD_SIZE", "1"))
    if there_are > 1 and num_ranks not in (None, there_are):
        raise UsageError(f"--ranks {num_ranks}: torchrun has started {there_are} processes; leave it out")
    if there_are > 1 or num_ranks is None or num_ranks == 1:
        return False
    check_ranks(num_ranks, device)
    if code := launch(arguments, num_ranks):
        sys.exit(code)
    return True


def launch(arguments: Sequence[str], num_ranks: int) -> int:
    """Run `gansmith ARGUMENTS` as that many ranks, and return the exit code of the training.

    Args:
        arguments: checked already.
        num_ranks: processes.

    Raises:
        ResourceError: ranks were killed more often than they are started again.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from gansmith.ranks import OUTCOME

    logging.disable(logging.CRITICAL)  # torchrun's own account of signals and restarts
    with tempfile.TemporaryDirectory(prefix="gansmith-ranks-") as folder:
        outcome = Path(folder) / "exit_code"
        os.environ |= {OUTCOME: str(outcome), LAUNCHER: str(os.getpid())}
        # Without it, ranks that are started again look for those of before (torch 2.13, gloo).
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // num_ranks)))
        os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(LONGEST_STOP))
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a rank that is gone: told by `gansmith` itself
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=num_ranks, run_id=str(uuid.uuid4()), rdzv_backend="c10d",
            rdzv_endpoint="localhost:0", local_addr="localhost", max_restarts=MOST_RESTARTS, monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )  # fmt: skip
        stopped_by = 0
        try:
            elastic_launch(config, sys.executable)("-m", "gansmith.launch", *arguments)
        except SignalException as error:
            stopped_by = int(error.sigval)
        except ChildFailedError as error:
            if not outcome.exists():
                rank, failure = error.get_first_failure()
                raise ResourceError(
                    f"rank {rank} was killed by signal {-failure.exitcode}, and all have been started again "
                    f"{MOST_RESTARTS} times: is there too little memory? The same command goes on from the "
                    "last checkpoint"
                ) from error
        if outcome.exists():
            return int(outcome.read_text())
        return 128 + stopped_by if stopped_by else 1


def leave_at_once(code: int) -> NoReturn:
    """End this rank without waiting for torch's threads.

    One that waits for a rank that is gone, or that is just leaving, can abort this process as it ends. To torchrun that
    looks like one that was killed, and all would be started again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_launcher() -> None:
    """Have the system send SIGTERM when the launcher ends, however it does; training is saved then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ[LAUNCHER]):  # it has ended already
            sys.exit(128 + signal.SIGTERM)


def _work() -> None:
    from gansmith.cli import main

    _end_with_launcher()
    try:
        main(sys.argv[1:])
    except SystemExit:
        pass  # its code is in the file, unless another rank has told
    except AlreadyTold:
        pass
    except Exception:  # noqa: BLE001
        traceback.print_exc()
    leave_at_once(0)


if __name__ == "__main__":
    _work()
