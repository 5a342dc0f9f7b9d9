"""Nearest neighbours of features, and what they say of samples: precision, recall, density, coverage.

Precision and recall are the improved ones (Kynkäänniemi et al. 2019), density and coverage those of Naeem et al. (2020).
Both put a ball around each point of one side, as large as the distance to its k-th nearest neighbour of the same side;
a point on the surface is inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gansmith.evaluation.intervals import NUM_GROUPS, Estimate, Groups

PRECISION_K, DENSITY_K = 3, 5
SPARE = 10
"""Neighbours looked up beyond k: for rounding, and for the jackknife, which leaves some out."""
QUERIES_AT_ONCE, REFERENCES_AT_ONCE, CENTRES_AT_ONCE = 256, 2**15, 128
TOLERANCE = 1e-12
"""Of squared distances in float64, as a share of the largest squared norm: over their rounding errors."""


def nearest(queries: Tensor, references: Tensor, k: int, skip_self: bool = False) -> tuple[Tensor, Tensor]:
    """Return distances and indices, (N, k) each, of the k nearest references of each query, the nearest first.

    Args:
        queries: (N, D), any type.
        references: (M, D), of the same type.
        k: at most M, or M - 1 with `skip_self`.
        skip_self: reference i is query i, and is not its own neighbour.

    Raises:
        ValueError: there are not that many references.
    """
    return nearest_others(queries, references, k, torch.arange(len(queries)) if skip_self else None)


def nearest_others(queries: Tensor, references: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `nearest` does; reference `own[i]` is query i itself, and is not its own neighbour; None: none is.

    Candidates are found by matrix products in the type of the numbers (float32 for integers); their distances are then
    computed from differences, so that equal rows are at distance 0.
    """
    available = len(references) - (own is not None)
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest of {available} references")
    dtype = torch.promote_types(references.dtype, torch.float32)
    centre = references.mean(0, dtype=torch.float64).to(dtype)
    num, wanted = len(queries), min(k + SPARE, available)
    gaps, indices = torch.empty(num, 0, dtype=dtype), torch.empty(num, 0, dtype=torch.int64)
    for start in range(0, len(references), REFERENCES_AT_ONCE):
        some = references[start : start + REFERENCES_AT_ONCE].to(dtype) - centre
        found = _nearest_of_some(queries, some, centre, wanted, None if own is None else own - start)
        gaps, order = torch.cat([gaps, found[0]], 1).topk(min(wanted, gaps.shape[1] + found[0].shape[1]), largest=False)
        indices = torch.cat([indices, found[1] + start], 1).gather(1, order)
    return _in_order(queries, references, indices, k)


def _nearest_of_some(
    queries: Tensor, some: Tensor, centre: Tensor, wanted: int, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return squared distances, less the query's own squared norm, and indices of the nearest of some references."""
    norms, gaps, indices = some.square().sum(1), [], []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        values = torch.addmm(norms, queries[rows].to(some.dtype) - centre, some.T, alpha=-2)
        if own is not None:
            here = (own[rows] >= 0) & (own[rows] < len(some))
            values[here.nonzero()[:, 0], own[rows][here]] = torch.inf
        least = values.topk(min(wanted, len(some)), largest=False)
        gaps.append(least.values)
        indices.append(least.indices)
    return torch.cat(gaps), torch.cat(indices)


def _in_order(queries: Tensor, references: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest of the candidates (N, wanted) by their differences from the query."""
    dtype = torch.promote_types(references.dtype, torch.float32)
    found = []
    for asked, places in zip(torch.split(queries, QUERIES_AT_ONCE), torch.split(indices, QUERIES_AT_ONCE), strict=True):
        candidates = references[places].to(dtype)
        exact = torch.cdist(asked[:, None].to(dtype), candidates, compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        distances, order = exact.sort(dim=1, stable=True)
        found.append((distances[:, :k], places.gather(1, order[:, :k])))
    return torch.cat([distances for distances, _ in found]), torch.cat([places for _, places in found])


def neighbourhood_obstacle(num_real: int, num_fake: int) -> str | None:
    """Return why there are no precision, recall, density and coverage of so many samples, or None."""
    for num, name in ((num_real, "real images"), (num_fake, "samples")):
        if num - -(-num // NUM_GROUPS) <= DENSITY_K:
            return f"{num} {name}: too few for {DENSITY_K} nearest neighbours of each"
    return None


@dataclass(frozen=True)
class _Side:
    """Points of one side: (N, D) float64, centred, sorted by their groups (N,) int64."""

    points: Tensor
    groups: Tensor

    @classmethod
    def of(cls, features: Tensor, groups: Groups, centre: Tensor) -> _Side:
        """Return the points less a common centre (D,) float64."""
        numbers, order = torch.from_numpy(groups).sort(stable=True)
        return cls(features[order].double() - centre, numbers)


@dataclass(frozen=True)
class _Balls:
    """Balls around one side's points and the other side's points in them; column g: without group g, the last: of all.

    Attributes:
        holding: (num_points, 21): how many balls hold the point.
        reached: (num_centres, 21): whether the ball holds any point.
    """

    holding: Tensor
    reached: Tensor


def neighbourhood_estimates(
    real: Tensor, fake: Tensor, real_groups: Groups, fake_groups: Groups
) -> dict[str, Estimate]:
    """Return precision, recall (k = 3), density and coverage (k = 5) of features (N, D) and (M, D).

    Replicate g leaves group g out of both sides: as points, as centres and as neighbours that a radius is made of.
    Precision: the share of fakes inside a ball of reals; recall: of reals inside a ball of fakes; density: how many
    balls of reals hold a fake, on average, over k; coverage: the share of reals' balls that hold a fake.
    """
    centre = real.double().mean(0)
    reals, fakes = _Side.of(real, real_groups, centre), _Side.of(fake, fake_groups, centre)
    near = _balls(reals, _radii(reals, PRECISION_K), fakes)
    far = _balls(reals, _radii(reals, DENSITY_K), fakes)
    back = _balls(fakes, _radii(fakes, PRECISION_K), reals)
    return {
        "precision": _mean(near.holding > 0, fakes, 1.0),
        "recall": _mean(back.holding > 0, reals, 1.0),
        "density": _mean(far.holding / DENSITY_K, fakes, float("inf")),
        "coverage": _mean(far.reached, reals, 1.0),
    }


def _mean(values: Tensor, side: _Side, most: float) -> Estimate:
    """Return the mean of the last column; replicate g is that of column g over the points that are not in group g."""
    columns = values.double()
    replicates = [float(columns[side.groups != group, group].mean()) for group in range(NUM_GROUPS)]
    return Estimate(float(columns[:, NUM_GROUPS].mean()), tuple(replicates), (0.0, most))


def _radii(side: _Side, k: int) -> Tensor:
    """Return (N, 21) distances to the k-th nearest of the same side; column g: without group g, the last: of all."""
    points, groups = side.points, side.groups
    distances, indices = nearest(points, points, min(k + SPARE, len(points) - 1), skip_self=True)
    radii = distances[:, k - 1 : k].repeat(1, NUM_GROUPS + 1)
    for group in range(NUM_GROUPS):
        kept = groups != group
        rank = (groups[indices] != group).cumsum(1)
        place = (rank < k).sum(1, keepdim=True)  # of the k-th that is not in the group
        radii[:, group] = distances.gather(1, place.clamp(max=distances.shape[1] - 1))[:, 0]
        if (short := (place[:, 0] == distances.shape[1]) & kept).any():
            own = kept.cumsum(0)[short] - 1
            radii[short, group] = nearest_others(points[short], points[kept], k, own)[0][:, k - 1]
    return radii


def _balls(centres: _Side, radii: Tensor, others: _Side) -> _Balls:
    """Return which balls hold which of the other side's points; `radii` as `_radii` returns them."""
    norms, own_norms = others.points.square().sum(1), centres.points.square().sum(1, keepdim=True)
    squared = radii.square() + TOLERANCE * torch.cat([norms, own_norms[:, 0]]).max()
    kept = centres.groups[:, None] != torch.arange(NUM_GROUPS + 1)  # ball i is there without group g
    holding, reached = torch.zeros(len(others.points), NUM_GROUPS + 1), []
    for start in range(0, len(centres.points), CENTRES_AT_ONCE):
        rows = slice(start, start + CENTRES_AT_ONCE)
        gaps = torch.addmm(norms, centres.points[rows], others.points.T, alpha=-2) + own_norms[rows]
        larger = squared[rows] > squared[rows, -1:]
        holding += _held(gaps, squared[rows, -1], kept[rows] & ~larger)
        of, column = (kept[rows] & larger).nonzero(as_tuple=True)
        if len(of):
            holding += _held(gaps[of], squared[rows][of, column], column[:, None] == torch.arange(NUM_GROUPS + 1))
        reached.append(_least_without(gaps, others.groups) <= squared[rows])
    return _Balls(holding, torch.cat(reached))


def _held(gaps: Tensor, squared: Tensor, counted: Tensor) -> Tensor:
    """Return (num_points, 21): in how many balls each point is, of those that are counted in each column (P, 21)."""
    return (gaps <= squared[:, None]).float().T @ counted.float()


def _least_without(gaps: Tensor, groups: Tensor) -> Tensor:
    """Return (N, 21): the least gap to points that are not in group g, in the last column to any."""
    least = torch.full((len(gaps), NUM_GROUPS + 1), torch.inf, dtype=gaps.dtype)
    for group, part in enumerate(torch.split(gaps, groups.bincount(minlength=NUM_GROUPS).tolist(), 1)):
        if part.shape[1]:
            least[:, group] = part.amin(1)
    two, where = least.topk(2, largest=False)
    return torch.where(where[:, :1] == torch.arange(NUM_GROUPS + 1), two[:, 1:], two[:, :1])
