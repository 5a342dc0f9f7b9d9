"""Facts beyond the table's contract (`contracts/test_tables.py`): what the losses have to do with each other."""

from __future__ import annotations

import math

import pytest
import torch

from gansmith.losses import LOSSES

torch.manual_seed(0)
REAL, FAKE = 3 * torch.randn(64), 3 * torch.randn(64)


def slope_at(function, logit: float) -> float:
    fake = torch.tensor([logit], requires_grad=True)
    function(torch.zeros(1), fake).sum().backward()
    return float(fake.grad)


def test_minimax_players_play_a_zero_sum_game_over_the_fakes():
    loss = LOSSES["minimax"]
    everything = loss.d(REAL, FAKE) + loss.g(REAL, FAKE)
    torch.testing.assert_close(everything, torch.nn.functional.softplus(-REAL))


def test_cross_entropy_equals_that_of_torch():
    for name in ("minimax", "non_saturating"):
        cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
        expected = cross_entropy(REAL, torch.ones(64), reduction="none")
        expected = expected + cross_entropy(FAKE, torch.zeros(64), reduction="none")
        torch.testing.assert_close(LOSSES[name].d(REAL, FAKE), expected)


def test_minimax_saturates_where_the_discriminator_is_sure_and_non_saturating_does_not():
    assert abs(slope_at(LOSSES["minimax"].g, -20.0)) < 1e-8
    assert slope_at(LOSSES["non_saturating"].g, -20.0) == pytest.approx(-1.0)


def test_an_undecided_discriminator_pays_two_bits_of_cross_entropy():
    assert float(LOSSES["non_saturating"].d(torch.zeros(1), torch.zeros(1))) == pytest.approx(2 * math.log(2))


def test_least_squares_is_zero_at_its_targets():
    loss = LOSSES["least_squares"]
    assert float(loss.d(torch.ones(1), torch.zeros(1))) == 0.0
    assert float(loss.g(torch.zeros(1), torch.ones(1))) == 0.0


def test_hinge_asks_nothing_beyond_the_margin():
    loss = LOSSES["hinge"]
    assert torch.equal(loss.d(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0])), torch.zeros(2))
    assert float(loss.d(torch.tensor([0.9]), torch.tensor([-1.0]))) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["wasserstein", "relativistic"])
def test_losses_of_differences_do_not_see_a_shift_of_both_logits(name):
    loss = LOSSES[name]
    torch.testing.assert_close(loss.d(REAL + 7, FAKE + 7), loss.d(REAL, FAKE), atol=1e-5, rtol=1e-5)


def test_relativistic_generator_is_the_discriminator_with_the_roles_swapped():
    loss = LOSSES["relativistic"]
    assert torch.equal(loss.g(REAL, FAKE), loss.d(FAKE, REAL))


def test_only_relativistic_pairing_needs_real_images_in_the_generators_step():
    assert [name for name, loss in LOSSES.items() if loss.needs_real_in_g] == ["relativistic"]


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.needs_real_in_g])
def test_a_generator_loss_that_needs_no_reals_does_not_look_at_them(name):
    loss = LOSSES[name]
    assert torch.equal(loss.g(REAL, FAKE), loss.g(torch.full_like(REAL, torch.nan), FAKE))
