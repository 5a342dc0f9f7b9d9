"""Batch norm over the whole batch of all ranks, in place of that over each rank's share of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm

from gansmith import ranks
from gansmith.layers.blocks import DenseBatchNorm
from gansmith.runtime import at_least_float32

KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, DenseBatchNorm)


def synchronised(module: nn.Module) -> None:
    """Turn every batch-norm layer inside into one that normalises by the statistics of all ranks' batches together.

    In place: parameters, buffers, their names and what optimisers hold of them stay, so that checkpoints interchange.
    With one rank nothing changes. Not for averages, whose statistics each rank measures alone, and all alike
    (`ema.restore_batch_norm`).

    Args:
        module: every rank has it, calls it equally often in training, and takes the same backward passes through it.

    Raises:
        TypeError: a batch-norm layer of a kind that is not known here.
    """
    if ranks.current().size == 1:
        return
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm) or isinstance(layer, SynchronisedBatchNorm):
            continue
        if type(layer) not in KNOWN:
            known = ", ".join(kind.__name__ for kind in KNOWN)
            raise TypeError(f"{name}: {type(layer).__name__} cannot be synchronised over ranks; there are {known}")
        layer.__class__ = SynchronisedBatchNorm


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of features (N, C) or maps (N, C, H, W), by the statistics of the batches of all ranks in training.

    The same numbers as of one process with the whole batch, to rounding: forward, backward, and running statistics.
    Also on CPUs, where torch's `SyncBatchNorm` does not run. Made by `synchronised`.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return normalised values of the same shape and type."""
        if not self.training:
            return super().forward(values)
        normalised, mean, variance, count = _Normalise.apply(values, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1)), share)
        return normalised  # type: ignore[no-any-return]

    def _check_input_dim(self, values: Tensor) -> None:
        """Any shape from (N, C) on; the layer that this one was has been given the right one."""


class _Normalise(torch.autograd.Function):
    """Statistics are in float32 at least, whatever the values are, and so is the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, variance, count = _merged(*_statistics(values))
        ctx.save_for_backward(values, weight, mean, torch.rsqrt(variance + epsilon), count)
        ctx.mark_non_differentiable(mean, variance, count)
        return batch_norm(values, mean, variance, weight, bias, False, 0.0, epsilon), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """dL/dx = w / sigma (dL/dy - mean(dL/dy) - y mean(dL/dy y)) for normalised y (Ioffe & Szegedy 2015), with the
        means over all ranks; gradients of weight and bias are of this rank's part of the loss, like any other's.
        """
        values, weight, mean, inverse, count = ctx.saved_tensors
        outer = at_least_float32(gradients[0])
        normalised = (at_least_float32(values) - _along(mean, values)) * _along(inverse, values)
        axes = _axes(values)
        sums = torch.cat([outer.sum(axes), (outer * normalised).sum(axes)])
        bias_gradient, weight_gradient = sums.clone().chunk(2)
        ranks.sum_in_place(sums)
        of_ones, of_normalised = (_along(total, values) for total in (sums / count).chunk(2))
        scale = inverse if weight is None else inverse * weight
        inner = (outer - of_ones - normalised * of_normalised) * _along(scale, values)
        if weight is None:
            return inner.to(values.dtype), None, None, None
        return inner.to(values.dtype), weight_gradient, bias_gradient, None


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance of each channel, and of how many numbers they are."""
    variance, mean = torch.var_mean(at_least_float32(values), _axes(values), correction=0)
    return mean, variance, values.numel() // values.shape[1]


def _merged(mean: Tensor, variance: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, variance and count of all ranks' numbers together, from those of each rank's (Chan et al. 1979).

    Sums of squares would do too, but for their rounding where the mean is large.
    """
    own = torch.cat([mean, variance, mean.new_full((1,), count)])
    means, variances, counts = torch.split(ranks.stacked(own), [len(mean), len(mean), 1], 1)
    total = counts.sum()
    merged = (counts * means).sum(0) / total
    return merged, (counts * (variances + (means - merged).square())).sum(0) / total, total


def _axes(values: Tensor) -> list[int]:
    return [0, *range(2, values.ndim)]


def _along(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(-1, *[1] * (values.ndim - 2))
