"""Gradients of two players for less work, exact to rounding. The step that uses them is `step.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

SMALLEST_START = 2.0**-40
"""What the backward pass through D starts with at a fake that D's loss is indifferent to / G's gradient there."""


def start_of(loss: Tensor) -> Tensor:
    """Return what the backward pass of a 0-d loss starts with: 1, or NaN where the loss is no finite number."""
    return loss.detach() * 0.0 + 1.0


def one_backward(
    loss_d: Tensor, loss_g: Tensor, real_logits: Tensor, fake_logits: Tensor, fake_images: Tensor,
    parameters: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    """Collect D's gradients in its parameters, and return dL_G/dx of the fakes, from one backward pass through D.

    A logit depends on its own sample alone, so a backward pass that starts with s at a logit ends with s dl/dx at
    its sample: D's pass gives dL_G/dx after multiplication by (dL_G/dl) / (dL_D/dl), sample by sample. Where D's loss
    hardly depends on a fake's logit (hinge beyond the margin), the pass starts there with 2^-40 of what it would with
    G's loss: less than the rounding of D's gradients in float32, and G's are as exact as anywhere.

    Args:
        loss_d: 0-d, a function of both logits.
        loss_g: 0-d, a function of `fake_logits`.
        real_logits: (N,), with a graph to the parameters.
        fake_logits: (N,), with a graph to the parameters and to `fake_images`.
        fake_images: (N, C, *space), a leaf.
        parameters: of D.

    Returns:
        dL_G/dx, of the shape of `fake_images`.
    """
    to_real, to_fake = torch.autograd.grad(loss_d, [real_logits, fake_logits], start_of(loss_d))
    (to_fake_g,) = torch.autograd.grad(loss_g, fake_logits, start_of(loss_g))
    least = SMALLEST_START * to_fake_g.abs()
    starts = torch.where(to_fake.abs() >= least, to_fake, least)
    torch.autograd.backward([real_logits, fake_logits], [to_real, starts], inputs=[*parameters, fake_images])
    assert fake_images.grad is not None
    factors = torch.where(starts == 0, 0.0, to_fake_g / starts)
    return fake_images.grad * factors.view(-1, *[1] * (fake_images.ndim - 1)).to(fake_images.dtype)


def two_backwards(
    loss_d: Tensor, loss_g: Tensor, real_logits: Tensor, fake_logits: Tensor, fake_images: Tensor,
    parameters: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    """Do what `one_backward` does where logits depend on other samples too (batch norm in D), with a second pass."""
    (gradients,) = torch.autograd.grad(loss_g, fake_images, start_of(loss_g), retain_graph=True)
    torch.autograd.backward(loss_d, start_of(loss_d), inputs=list(parameters))
    return gradients


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without collecting them in its parameters (a third of its backward)."""
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
