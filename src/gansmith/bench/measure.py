"""Measures one row: both contenders in turn, and what explains the ratio."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from gansmith import runtime
from gansmith.bench.contenders import CPU, OurTraining, fastest_plain_loop, images_for, plain_module
from gansmith.bench.fresh import fresh_starts
from gansmith.bench.interleaving import PAIRS, Contender, Ratio, interleave
from gansmith.bench.profile import shares_of_time
from gansmith.bench.roof import Roof
from gansmith.bench.rows import Row
from gansmith.bench.teams import Team, num_cores
from gansmith.build import build_generator
from gansmith.sampling import sample
from gansmith.training.estimate import step_flops
from gansmith.training.objectives import OBJECTIVES

SAMPLES = 10_000
LONGEST_STEP_SECONDS = 3.0
LIKELY_SHARE_OF_ROOF = 0.5
TRIAL_SHARE = 0.5
"""Of a stretch: how long each number of workers is tried."""
PROFILED_STEPS, PROFILED_SECONDS = 10, 2.0


@dataclass(frozen=True)
class Result:
    """The numbers of a row; None where they were not measured.

    Attributes:
        recipe: name of the row.
        batch, discriminator_steps, size, channels, precision, update: of its recipe; the plain loop alternates.
        ours, plain: images per second, medians. In the row of ranks, both ours: of two ranks, and of one process.
        ratio, ratio_low, ratio_high: median of the pairs' ratios, and its 95 % interval.
        workers: of the plain loop's loader.
        gflop, gflop_plain: executed in one step.
        gflops: ours, per second.
        roof_gflops: of the best convolution in the same precision, in the same minutes; a median.
        share_of_roof: gflops / roof_gflops.
        memory_mb, memory_mb_plain: peak of a fresh process.
        first_step_seconds, first_step_seconds_plain: from the start of a fresh process.
        time: group of operations -> share of ours.
        estimated_seconds: of a step, where it is too long to be measured.
        idle_share: of a core that a process has used at most while it was not its turn; of the row of ranks.
        not_run: the reason, where this machine cannot do what the row asks for.
    """

    recipe: str
    batch: int
    discriminator_steps: int
    size: tuple[int, int]
    channels: int
    precision: str
    update: str
    ours: float | None = None
    plain: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    workers: int | None = None
    gflop: float | None = None
    gflop_plain: float | None = None
    gflops: float | None = None
    roof_gflops: float | None = None
    share_of_roof: float | None = None
    memory_mb: float | None = None
    memory_mb_plain: float | None = None
    first_step_seconds: float | None = None
    first_step_seconds_plain: float | None = None
    time: dict[str, float] = field(default_factory=dict)
    estimated_seconds: float | None = None
    idle_share: float | None = None
    not_run: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it with rounded numbers, without what was not measured."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, {})}
        if self.time:
            values["time"] = {group: round(share, 3) for group, share in self.time.items()}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def measure(row: Row, source: str | None, seconds: float, roof: Roof) -> Result:
    """Return the numbers of a row.

    Args:
        row: its recipe in the precision that training would choose.
        source: of the images, or None for noise.
        seconds: of a stretch.
        roof: in that precision.

    Raises:
        UsageError: the plain loop does not do what the recipe asks for.
        DataError: the source cannot be read.
        ResourceError: a process that was started failed.
    """
    if row.kind == "ranks":
        return measure_ranks(row, source, seconds)
    return (
        measure_sampling(row, seconds, roof) if row.kind == "sampling" else measure_training(row, source, seconds, roof)
    )


def measure_training(row: Row, source: str | None, seconds: float, roof: Roof) -> Result:
    """Return the numbers of a row that trains; arguments and errors as `measure`."""
    recipe = row.recipe
    flop = step_flops(recipe, OBJECTIVES[recipe.objective], CPU)
    estimated = flop / (LIKELY_SHARE_OF_ROOF * roof.measure())
    if estimated > LONGEST_STEP_SECONDS:
        return Result(**_facts(row), gflop=flop / 1e9, estimated_seconds=estimated)
    data = images_for(recipe, source)
    ours = OurTraining(recipe, data)
    runtime.keep_large_allocations()
    if (tried := _second_step_seconds(ours)) > LONGEST_STEP_SECONDS:
        return Result(**_facts(row), gflop=flop / 1e9, estimated_seconds=tried)
    plain, workers = fastest_plain_loop(recipe, data.images, TRIAL_SHARE * seconds)
    images = ours.images
    roofs: list[float] = []
    ratio = interleave(
        Contender(ours.step, images, runtime.keep_large_allocations),
        Contender(plain.step, images, runtime.use_default_allocations),
        seconds, between=lambda: roofs.append(_roof_now(roof)),
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        plain.step()
    del plain  # and its worker processes
    runtime.keep_large_allocations()
    steps = max(1, min(PROFILED_STEPS, int(PROFILED_SECONDS * ratio.first / images)))
    ours_fresh, plain_fresh = fresh_starts(recipe, data.images, workers)
    return Result(
        **_facts(row), **_rates(ratio, flop / images, median(roofs)), workers=workers, gflop=flop / 1e9,
        gflop_plain=counter.get_total_flops() / 1e9, memory_mb=ours_fresh.peak_bytes / 1e6,
        memory_mb_plain=plain_fresh.peak_bytes / 1e6, first_step_seconds=ours_fresh.seconds,
        first_step_seconds_plain=plain_fresh.seconds, time=shares_of_time(ours.read, ours.train, steps),
    )  # fmt: skip


def measure_sampling(row: Row, seconds: float, roof: Roof, count: int = SAMPLES) -> Result:
    """Return the numbers of a row that samples: `gansmith.sampling.sample` against `plain_sample`.

    Args:
        row: its recipe makes the generator.
        seconds: of a stretch.
        roof: in the recipe's precision.
        count: samples of one call.
    """
    recipe, module = row.recipe, plain_module()
    ours = build_generator(recipe)

    def sampled(number: int) -> None:
        sample(ours, number, precision=recipe.precision)

    plain, _ = module.plain_networks(recipe.model_dump(mode="json"))
    module.load_into_plain(plain, ours.state_dict())
    roofs: list[float] = []
    ratio = interleave(
        Contender(lambda: sampled(count), count, runtime.keep_large_allocations),
        Contender(
            lambda: module.plain_sample(plain, count, recipe.generator.latent_dim), count,
            runtime.use_default_allocations,
        ),
        seconds, between=lambda: roofs.append(_roof_now(roof)),
    )  # fmt: skip
    few = recipe.batch_size
    flops = [_flops_of_sampling(few, work) for work in (
        lambda: sampled(few), lambda: module.plain_sample(plain, few, recipe.generator.latent_dim)
    )]  # fmt: skip
    runtime.keep_large_allocations()
    return Result(
        **_facts(row), **_rates(ratio, flops[0], median(roofs)), gflop=flops[0] * few / 1e9,
        gflop_plain=flops[1] * few / 1e9, time=shares_of_time(lambda: None, lambda _: sampled(few), 10),
    )  # fmt: skip


def measure_ranks(row: Row, source: str | None, seconds: float, pairs: int = PAIRS) -> Result:
    """Return how fast two ranks of one thread train, against one process of two threads; all in processes of their own.

    Args:
        row: its recipe is trained, its batch divided among the ranks.
        source: as `measure`.
        seconds: of a stretch.
        pairs: of stretches.

    Raises:
        DataError: the source cannot be read.
        ResourceError: one of the processes failed.
    """
    if (cores := num_cores()) < 2:
        return Result(**_facts(row), not_run=f"two ranks need two cores, and this process may use {cores}")
    with tempfile.TemporaryDirectory(prefix="gansmith-bench-") as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images_for(row.recipe, source).images)
        with Team(2, 1, row.recipe, path) as divided, Team(1, 2, row.recipe, path) as whole:
            ratio = interleave(divided, whole, seconds, pairs)
            return Result(
                **_facts(row), ours=ratio.first, plain=ratio.second, ratio=ratio.ratio, ratio_low=ratio.low,
                ratio_high=ratio.high, idle_share=max(divided.idle_share, whole.idle_share),
            )  # fmt: skip


def _flops_of_sampling(count: int, work: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / count


def _facts(row: Row) -> dict[str, Any]:
    recipe = row.recipe
    return {"recipe": row.name, "batch": recipe.batch_size, "discriminator_steps": recipe.discriminator_steps,
            "size": recipe.size, "channels": recipe.channels, "precision": recipe.precision,
            "update": recipe.update}  # fmt: skip


def _rates(ratio: Ratio, flop_per_image: float, roof: float) -> dict[str, Any]:
    flops = ratio.first * flop_per_image
    return {"ours": ratio.first, "plain": ratio.second, "ratio": ratio.ratio, "ratio_low": ratio.low,
            "ratio_high": ratio.high, "gflops": flops / 1e9, "roof_gflops": roof / 1e9,
            "share_of_roof": flops / roof}  # fmt: skip


def _roof_now(roof: Roof) -> float:
    runtime.keep_large_allocations()  # whoever had the last turn
    return roof.measure()


def _second_step_seconds(ours: OurTraining) -> float:
    ours.step()
    begun = time.perf_counter()
    ours.step()
    return time.perf_counter() - begun
