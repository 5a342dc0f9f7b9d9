from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from gansmith import sampling
from gansmith.facts import Classes
from gansmith.sampling import labels_of, latents_of, slerp, truncated

generate = partial(sampling.generate, precision="float32")
sample = partial(sampling.sample, precision="float32")
interpolate = partial(sampling.interpolate, precision="float32")


class Generator(nn.Module):
    """A small generator with batch norm and dropout, so that its mode matters."""

    latent_dim = 6

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 12), nn.Tanh())

    def forward(self, latents, labels=None):
        images = self.layers(latents).view(-1, 3, 2, 2)
        return images if labels is None else images * 0 + labels.view(-1, 1, 1, 1)


class Identity(nn.Module):
    """Shows the latents themselves."""

    latent_dim = 512

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, latents, labels=None):
        return self.scale * latents


def test_the_first_latents_of_a_seed_do_not_depend_on_how_many_are_asked_for():
    assert torch.equal(latents_of(5, 64, 7)[:8], latents_of(5, 8, 7))


def test_latents_are_fixed_by_the_seed():
    assert torch.equal(latents_of(5, 4, 7), latents_of(5, 4, 7))
    assert not torch.equal(latents_of(5, 4, 7), latents_of(6, 4, 7))


def test_latents_are_float32_standard_normal():
    latents = latents_of(0, 500, 200)
    assert (latents.dtype, latents.shape) == (torch.float32, (500, 200))
    assert abs(float(latents.mean())) < 0.02  # 6 standard errors of 100,000 draws
    assert abs(float(latents.std()) - 1) < 0.02
    assert abs(float((latents.abs() < 1).float().mean()) - 0.6827) < 0.01


def test_latents_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    latents_of(0, 4, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_first_samples_of_a_seed_do_not_depend_on_how_many_are_asked_for():
    generator = Generator()
    torch.testing.assert_close(sample(generator, 200, seed=3)[:8], sample(generator, 8, seed=3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11])
def test_samples_do_not_depend_on_the_batch_size(batch_size):
    generator, latents = Generator().train(), latents_of(0, 10, 6)
    # The order of sums differs between matrix shapes: a few float32 roundings.
    torch.testing.assert_close(
        generate(generator, latents, batch_size=batch_size), generate(generator, latents), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("training", [True, False])
def test_generating_restores_the_mode_and_changes_no_buffer(training):
    generator = Generator().train(training)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    images = sample(generator, 4)
    assert generator.training is training and generator.layers[1].training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert not images.requires_grad


def test_samples_are_float32_whatever_the_generator_computes_in():
    latents = latents_of(0, 4, 512).bfloat16()
    assert generate(Identity().bfloat16(), latents).dtype == torch.float32


def test_labels_are_split_like_the_latents():
    labels = torch.arange(7)
    images = generate(Generator(), latents_of(0, 7, 6), labels, batch_size=3)
    assert torch.equal(images[:, 0, 0, 0], labels.float())


UNEVEN = Classes(("cat", "dog", "none", "owl"), (70, 20, 0, 10))


def test_labels_follow_how_often_the_classes_occur():
    count = 20_000
    labels = labels_of(0, count, UNEVEN)
    assert (labels.dtype, labels.shape) == (torch.int64, (count,))
    for label, share in enumerate((0.7, 0.2, 0.0, 0.1)):
        found = float((labels == label).double().mean())
        assert abs(found - share) <= 5 * math.sqrt(share * (1 - share) / count), label


def test_a_label_is_a_function_of_seed_and_number_alone():
    assert torch.equal(labels_of(5, 64, UNEVEN)[:8], labels_of(5, 8, UNEVEN))
    assert not torch.equal(labels_of(5, 64, UNEVEN), labels_of(6, 64, UNEVEN))


def test_labels_do_not_depend_on_the_scale_of_the_counts():
    tenfold = Classes(UNEVEN.names, tuple(10 * count for count in UNEVEN.counts))
    assert torch.equal(labels_of(1, 500, UNEVEN), labels_of(1, 500, tenfold))


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0, 2.0, 3.0])
def test_truncated_latents_stay_inside_in_the_order_they_had(threshold):
    latents = latents_of(0, 1, 20_000)
    inside = truncated(latents, threshold)
    assert (inside.dtype, inside.shape) == (torch.float32, latents.shape)
    assert inside.abs().max() <= threshold * (1 + 1e-6)
    assert inside.abs().max() > 0.98 * threshold or threshold == 3.0
    in_order = inside[0][latents[0].argsort()]
    assert (in_order.diff() >= 0).all()
    assert torch.equal(inside.sign(), latents.sign())


@pytest.mark.parametrize("threshold", [0.3, 0.7, 1.5, 2.5])
def test_truncated_latents_are_distributed_as_a_truncated_normal(threshold):
    values = truncated(latents_of(3, 1, 50_000), threshold)[0].double().sort().values
    inside = math.erf(threshold / math.sqrt(2))
    expected = 0.5 + torch.erf(values / math.sqrt(2)) / (2 * inside)
    ranks = torch.arange(1, len(values) + 1) / len(values)
    distance = float((ranks - expected).abs().max())
    assert distance * math.sqrt(len(values)) < 1.95  # Kolmogorov-Smirnov, p = 0.001


def test_a_large_threshold_changes_nothing():
    latents = latents_of(0, 50, 200)
    torch.testing.assert_close(truncated(latents, 9.0), latents, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(truncated(latents, 2.0), latents, atol=1e-2)


def test_truncated_samples_are_those_of_the_truncated_latents():
    generator = Generator()
    expected = generate(generator, truncated(latents_of(2, 9, 6), 0.6))
    assert torch.equal(sample(generator, 9, seed=2, truncation=0.6), expected)
    assert not torch.allclose(sample(generator, 9, seed=2), expected)


def test_a_walk_keeps_the_label_of_each_of_its_samples():
    frames = interpolate(Generator(), count=3, num_frames=7, num_stops=2, labels=torch.tensor([2, 0, 1]))
    for frame in frames:
        assert torch.equal(frame[:, 0, 0, 0], torch.tensor([2.0, 0.0, 1.0]))


def test_slerp_begins_and_ends_at_its_ends():
    start, end = latents_of(0, 20, 30), latents_of(1, 20, 30)
    torch.testing.assert_close(slerp(start, end, 0.0), start)
    torch.testing.assert_close(slerp(start, end, 1.0), end, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_slerp_is_the_same_from_the_other_end(share):
    start, end = latents_of(0, 20, 30), latents_of(1, 20, 30)
    torch.testing.assert_close(slerp(start, end, share), slerp(end, start, 1 - share), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_slerp_interpolates_lengths_linearly(share):
    start, end = latents_of(0, 20, 30), 3 * latents_of(1, 20, 30)
    expected = (1 - share) * start.norm(dim=1) + share * end.norm(dim=1)
    torch.testing.assert_close(slerp(start, end, share).norm(dim=1), expected, atol=1e-4, rtol=1e-5)


def test_slerp_of_a_right_angle_moves_at_constant_speed():
    start, end = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for share in (0.0, 0.25, 1 / 3, 0.5, 1.0):
        angle = share * math.pi / 2
        expected = torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]])
        torch.testing.assert_close(slerp(start, end, share), expected, atol=1e-6, rtol=0)


def test_slerp_between_equal_rows_stays_there():
    start = latents_of(0, 5, 30)
    torch.testing.assert_close(slerp(start, start.clone(), 0.3), start, atol=1e-5, rtol=1e-5)


def test_a_walk_has_the_frames_asked_for():
    frames = interpolate(Generator(), count=3, num_frames=10, num_stops=4)
    assert len(frames) == 10
    assert all(frame.shape == (3, 3, 2, 2) for frame in frames)


def test_a_walk_loops_without_a_jump():
    frames = torch.stack(interpolate(Identity(), count=4, num_frames=60, num_stops=3, seed=1))
    steps = (frames.roll(-1, 0) - frames).norm(dim=2)  # the last row is from the last frame to the first
    assert float(steps[-1].max()) < 1.2 * float(steps[:-1].max())
    assert float(steps.max()) < 1.5 * float(steps.min())


def test_a_walk_passes_its_stops():
    stops = latents_of(2, 4 * 3, 512).view(3, 4, 512)
    frames = interpolate(Identity(), count=4, num_frames=30, num_stops=3, seed=2)
    for stop in range(3):
        torch.testing.assert_close(frames[10 * stop], stops[stop])


def test_a_walk_stays_at_the_length_of_normal_latents():
    lengths = torch.stack(interpolate(Identity(), count=8, num_frames=24)).norm(dim=2)
    assert ((lengths > 19) & (lengths < 26.5)).all()  # sqrt(512) = 22.6 with a standard deviation of 0.7


def test_walks_side_by_side_are_different_and_fixed_by_the_seed():
    one, again = (torch.stack(interpolate(Identity(), 2, 6, 2, seed=3)) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.allclose(one[:, 0], one[:, 1])
    assert not torch.allclose(one, torch.stack(interpolate(Identity(), 2, 6, 2, seed=4)))
