"""What several ranks cost: measured between two on this machine, and modelled for 8, 64 and 512 GPUs.

    python benchmarks/ranks.py [--quick] [--only measured|modelled] [--tflops 100] [--floor-ms 2]

Measured: the sum of each recipe's gradients and what ranks agree on before a step, between two processes by gloo; and
the row `ranks` of `gansmith bench`, longer. Modelled: the table of docs/scaling.md, which has the formulas; the
constants below are its assumptions. `--quick` measures little.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import torch
from torch import multiprocessing

from gansmith import ranks, recipes, runtime
from gansmith.bench.measure import measure_ranks
from gansmith.bench.rows import RANKS, row_of
from gansmith.bench.table import lines_of
from gansmith.build import build_networks, num_parameters
from gansmith.launch import leave_at_once
from gansmith.layers import fourier
from gansmith.recipe import Recipe
from gansmith.training.adversarial import Adversarial
from gansmith.training.estimate import step_flops

CPU = torch.device("cpu")
RECIPES = ("mlp", "dcgan-small", "dcgan-28", "dcgan-32", "dense-conv", "resnet")
SIZES = (8, 64, 512)
BYTES = 4  # of a gradient: float32
GPUS_A_NODE = 8
NVLINK, INFINIBAND = 300e9, 50e9
"""Bytes a second and direction of one GPU: of the 450 GB/s of an H100 in an NVSwitch node; a 400 Gb/s port each."""
NVLINK_HOP, INFINIBAND_HOP, GLOO_HOP = 3e-6, 6e-6, 40e-6
"""Seconds of one step of a ring: NCCL in a node, NCCL between nodes, gloo over TCP."""


@dataclass(frozen=True)
class Work:
    """What a recipe's step computes and sends.

    Attributes:
        batch: images of a D step.
        parameters: of D and of G.
        messages: bytes of each all-reduce of a step.
        flops: of a step with the whole batch.
    """

    batch: int
    parameters: tuple[int, int]
    messages: tuple[int, ...]
    flops: float


def recipe_of(name: str) -> Recipe:
    """Return a ready recipe at its usual size."""
    return recipes.RECIPES[name]()


def work_of(recipe: Recipe) -> Work:
    """Return what one step is, from the networks and a counted step of a small batch (FLOPs grow with the batch)."""
    networks = build_networks(recipe, device="meta")
    d, g = (num_parameters(networks[name]) for name in ("discriminator", "generator"))
    if recipe.update == "simultaneous":
        messages = [d] * (recipe.discriminator_steps - 1) + [d + g]
    else:
        messages = [d] * recipe.discriminator_steps + [g]
    with mock.patch.object(fourier, "pays", return_value=False):  # on a GPU layers take their direct form
        flops = step_flops(recipe, Adversarial(), CPU)
    return Work(recipe.batch_size, (d, g), tuple(BYTES * count for count in messages), flops)


def ring_seconds(size: float, count: int, bandwidth: float, hop: float) -> float:
    """Return the time of a ring all-reduce: 2 (n - 1) / n x bytes / bandwidth, and 2 (n - 1) hops."""
    return 2 * (count - 1) * (size / count / bandwidth + hop)


def all_reduce_seconds(size: float, num_ranks: int) -> float:
    """Return the time of a hierarchical one: a ring in each node, and rings of its parts between nodes."""
    local = min(num_ranks, GPUS_A_NODE)
    nodes = math.ceil(num_ranks / GPUS_A_NODE)
    return ring_seconds(size, local, NVLINK, NVLINK_HOP) + ring_seconds(size / local, nodes, INFINIBAND, INFINIBAND_HOP)


def compute_seconds(work: Work, share: float, flops_per_second: float, floor: float) -> float:
    """Return the time of a step's kernels with this share of the batch: by FLOPs, but never under the floor of each
    update.
    """
    return max(work.flops * share / flops_per_second, floor * len(work.messages))


def modelled(flops_per_second: float, floor: float) -> None:
    """Print the tables of docs/scaling.md."""
    print(f"Modelled: {flops_per_second / 1e12:g} TFLOP/s reached by a GPU, {1e3 * floor:g} ms an update at least\n")
    print("| recipe | batch | D, G parameters | MB a step | all-reduces | GFLOP a step | one GPU, ms |")
    print("|---|---|---|---|---|---|---|")
    works = {name: work_of(recipe_of(name)) for name in RECIPES}
    for name, work in works.items():
        d, g = work.parameters
        alone = compute_seconds(work, 1, flops_per_second, floor)
        print(
            f"| `{name}` | {work.batch} | {d / 1e6:.2f} M, {g / 1e6:.2f} M | {sum(work.messages) / 1e6:.1f} | "
            f"{len(work.messages)} | {work.flops / 1e9:,.1f} | {1e3 * alone:.2f} |"
        )
    heads = "".join(f" {n} GPUs: all-reduces, ms | same batch | batch x {n} |" for n in SIZES)
    print(f"\n| recipe |{heads}")
    print("|---|" + "---|" * 3 * len(SIZES))
    for name, work in works.items():
        alone, cells = compute_seconds(work, 1, flops_per_second, floor), ""
        for n in SIZES:
            sending = sum(all_reduce_seconds(size, n) for size in work.messages)
            strong = f"{alone / (compute_seconds(work, 1 / n, flops_per_second, floor) + sending):.1f}x"
            fits = work.batch % n == 0
            cells += f" {1e3 * sending:.2f} | {strong if fits else 'too small'} | {alone / (alone + sending):.0%} |"
        print(f"| `{name}` |{cells}")
    agreements = ", ".join(f"{1e3 * 2 * (n - 1) * GLOO_HOP:.1f} ms at {n}" for n in SIZES)
    print(f"\nThe agreement before each step, a ring of gloo over TCP: {agreements} ranks.")


def median_seconds(call: Callable[[], object], count: int) -> float:
    """Return the median time of a call that both ranks make."""
    times = []
    for _ in range(count + 1):
        ranks.wait_for_all()
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def compare(quick: bool) -> None:
    """Print the row `ranks` of `gansmith bench`, measured longer."""
    row = row_of(RANKS, runtime.best_precision(CPU))
    result = measure_ranks(row, None, 0.5, pairs=2) if quick else measure_ranks(row, None, 3.0, pairs=9)
    print("\n" + "\n".join(lines_of(result)))


def measure(rank: int, port: int, quick: bool) -> None:
    """Be one of two ranks; the first prints."""
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in here.items()}
    torch.set_num_threads(1)
    runtime.keep_large_allocations()
    with ranks.joined("cpu"):
        if rank == 0:
            print("Measured here, two processes of one thread, gloo:\n")
            print("| recipe | MB | sum of all gradients, ms |\n|---|---|---|")
        for name in RECIPES:
            parameters = [parameter for network in build_networks(recipe_of(name)).values()
                          for parameter in network.parameters()]  # fmt: skip
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            seconds = median_seconds(lambda held=parameters: ranks.sum_gradients(held), 3 if quick else 20)
            if rank == 0:
                size = BYTES * sum(parameter.numel() for parameter in parameters)
                print(f"| `{name}` | {size / 1e6:.1f} | {1e3 * seconds:.1f} |")
        agreement = median_seconds(lambda: ranks.largest(0), 20 if quick else 500)
        if rank == 0:
            print(f"\nThe agreement before each step: {1e6 * agreement:.0f} us")
    leave_at_once(0)


def main() -> None:
    """Measure, then model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("measured", "modelled"))
    parser.add_argument("--tflops", type=float, default=100.0, help="reached by a GPU on these networks")
    parser.add_argument("--floor-ms", type=float, default=2.0, help="of one update of D or G, however small the batch")
    options = parser.parse_args()
    if options.only != "modelled":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        multiprocessing.spawn(measure, (port, options.quick), 2)
        compare(options.quick)
        print()
    if options.only != "measured":
        modelled(options.tflops * 1e12, options.floor_ms / 1e3)


if __name__ == "__main__":
    main()
