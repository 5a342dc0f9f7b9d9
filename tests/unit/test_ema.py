from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gansmith.build import build_generator
from gansmith.ema import ema_decay, restore_batch_norm, settle_generator, update_ema
from gansmith.facts import Classes
from gansmith.recipes import RECIPES


class Generator(nn.Module):
    """Dense, batch norm, dense, batch norm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 5), nn.BatchNorm1d(5))

    def forward(self, latents, labels=None):
        return self.layers(latents)


def test_after_one_half_life_half_of_the_old_average_is_left():
    assert ema_decay(1000, images_seen=10**6, batch_size=1000) == 0.5
    assert ema_decay(1000, images_seen=10**6, batch_size=100) ** 10 == pytest.approx(0.5)


def test_a_half_life_of_0_is_a_copy():
    assert ema_decay(0, images_seen=10**6, batch_size=64) == 0.0


def test_early_in_training_the_half_life_is_a_twentieth_of_the_images_seen():
    assert ema_decay(20_000, images_seen=2_000, batch_size=100) == pytest.approx(0.5)
    assert ema_decay(20_000, images_seen=400_000, batch_size=20_000) == pytest.approx(0.5)
    assert ema_decay(20_000, images_seen=10**9, batch_size=20_000) == pytest.approx(0.5)


def test_decay_grows_with_the_images_seen_up_to_its_limit():
    decays = [ema_decay(20_000, seen, 64) for seen in (64, 640, 6_400, 64_000, 640_000, 6_400_000)]
    assert decays[:5] == sorted(set(decays[:5]))
    assert decays[4] == decays[5] < 1.0


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.999, 1.0])
def test_average_moves_towards_the_module_by_one_minus_decay(decay):
    torch.manual_seed(0)
    average, module = Generator(), Generator()
    old = copy.deepcopy(average)
    update_ema(average, module, decay)
    for new, before, target in zip(average.parameters(), old.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(new, decay * before + (1 - decay) * target)


def test_a_decay_of_0_copies_exactly():
    torch.manual_seed(0)
    average, module = Generator(), Generator()
    update_ema(average, module, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), module.parameters(), strict=True))


def test_the_training_module_and_all_buffers_are_left_alone():
    torch.manual_seed(0)
    average, module = Generator(), Generator()
    module(torch.randn(8, 3))
    trained, buffers = copy.deepcopy(module.state_dict()), copy.deepcopy(dict(average.named_buffers()))
    update_ema(average, module, 0.5)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in trained.items())
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in average.named_buffers())


def test_the_update_leaves_no_graph():
    average, module = Generator(), Generator()
    update_ema(average, module, 0.5)
    assert all(parameter.is_leaf and parameter.grad_fn is None for parameter in average.parameters())


def test_the_average_of_constant_weights_converges_to_them():
    torch.manual_seed(0)
    average, module = Generator(), Generator()
    for _ in range(60):
        update_ema(average, module, 0.5)
    for a, b in zip(average.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_restored_statistics_are_the_means_over_the_batches():
    torch.manual_seed(0)
    generator = Generator()
    batches = [torch.randn(16, 3) for _ in range(4)]
    restore_batch_norm(generator, [(batch, None) for batch in batches])
    first, norm = generator.layers[0], generator.layers[1]
    features = [first(batch).detach() for batch in batches]
    torch.testing.assert_close(norm.running_mean, torch.stack([f.mean(0) for f in features]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([f.var(0) for f in features]).mean(0))


def test_restored_statistics_do_not_depend_on_the_old_ones_or_the_old_mode():
    torch.manual_seed(0)
    one = Generator()
    other = copy.deepcopy(one).eval()
    one(10 * torch.randn(32, 3) + 5)
    batches = [torch.randn(16, 3) for _ in range(3)]
    for generator in (one, other):
        restore_batch_norm(generator, [(batch, None) for batch in batches])
    states = one.state_dict(), other.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_after_restoring_the_generator_is_in_eval_mode_with_its_own_momentum():
    generator = Generator().train()
    restore_batch_norm(generator, [(torch.randn(4, 3), None)])
    assert not any(module.training for module in generator.modules())
    assert generator.layers[1].momentum == generator.layers[4].momentum == 0.1


def test_restoring_changes_no_weight():
    generator = Generator()
    before = copy.deepcopy(dict(generator.named_parameters()))
    restore_batch_norm(generator, [(torch.randn(4, 3), None)])
    assert all(torch.equal(parameter, before[name]) for name, parameter in generator.named_parameters())


def test_a_generator_without_batch_norm_only_goes_into_eval_mode():
    generator = nn.Sequential(nn.Linear(3, 3), nn.Dropout())

    def no_batches():
        raise AssertionError("latents were drawn for nothing")
        yield

    restore_batch_norm(generator, no_batches())
    assert not generator.training


def conditional_generator(name: str) -> nn.Module:
    generator = build_generator(RECIPES[name](size=(8, 8), channels=1, num_classes=3).shrunk())
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return generator


def statistics(generator: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for name, buffer in generator.named_buffers() if name.endswith(("_mean", "_var"))]


def settled(name: str, seed: int = 0, counts=(5, 3, 2)) -> list[torch.Tensor]:
    generator = conditional_generator(name)
    settle_generator(generator, seed, "float32", Classes(("a", "b", "c"), counts))
    assert not generator.training
    return statistics(generator)


@pytest.mark.parametrize("name", ["dcgan-small", "dense-conv", "resnet"])
class TestSettlingConditionalGenerators:
    def test_statistics_are_a_function_of_weights_seed_and_frequencies(self, name):
        first = settled(name)
        assert first and all(torch.equal(a, b) for a, b in zip(first, settled(name), strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, settled(name, seed=1), strict=True))
        assert not all(torch.allclose(a, b) for a, b in zip(first, settled(name, counts=(0, 0, 9)), strict=True))

    def test_statistics_are_those_of_the_classes_that_occur(self, name):
        generator = conditional_generator(name)
        latents = torch.randn(2_000, generator.latent_dim, generator=torch.Generator().manual_seed(9))
        restore_batch_norm(generator, [(latents, torch.full((2_000,), 1))])
        for own, drawn in zip(statistics(generator), settled(name, counts=(0, 7, 0)), strict=True):
            # Two draws of about 2,000 latents: means and variances differ by a few percent of the spread.
            assert float((own - drawn).abs().max()) < 0.2 * float(own.abs().max() + 1)

    def test_a_generator_that_needs_labels_is_not_settled_without_them(self, name):
        with pytest.raises(ValueError, match="needs labels"):
            settle_generator(conditional_generator(name), 0, "float32")
