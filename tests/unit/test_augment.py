"""Each operation alone against NumPy, its probability, and derivatives of both orders."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from gansmith import ranks
from gansmith.augment import UNCHANGED, Augmenter, Transformation
from gansmith.augment.warp import refinement
from gansmith.settings import AdaptiveProbability, Augmentation, DiffAugmentOperation, PipeOperation

Shape = tuple[int, int, int]
SHAPES = [(1, 8, 8), (2, 6, 8), (3, 8, 12), (4, 5, 5)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_policy = pytest.mark.parametrize("policy", ["pipe", "diffaugment"])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, shape: Shape, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=rng(seed)) * 2 - 1


def augmenter(shape: Shape = (3, 8, 8), **settings) -> Augmenter:
    channels, height, width = shape
    return Augmenter(Augmentation(**settings), (height, width), channels)


def only(operation: str, shape: Shape, count: int, probability: float = 1.0) -> Transformation:
    policy = "pipe" if operation in get_args(PipeOperation) else "diffaugment"
    settings = {"policy": policy, "operations": (operation,), "probability": probability}
    return augmenter(shape, **settings).draw(count, rng())


def transformed(operation: str, shape: Shape = (3, 8, 8), count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Images before and after an operation that is always applied."""
    before = images(count, shape)
    return before.numpy(), only(operation, shape, count)(before).numpy()


def which(result: np.ndarray, candidates: list[np.ndarray]) -> int:
    """The number of the one candidate that the result is, to rounding."""
    found = [index for index, each in enumerate(candidates) if np.abs(each - result).max() < 1e-5]
    assert len(found) == 1
    return found[0]


@each_policy
@each_shape
def test_augmenting_with_probability_0_changes_no_bit(policy, shape):
    before = images(16, shape)
    after = augmenter(shape, policy=policy, probability=0.0).draw(16, rng())(before)
    assert torch.equal(after.view(torch.int32), before.view(torch.int32))


def test_an_image_that_no_operation_was_drawn_for_comes_out_as_it_went_in():
    before = images(400, (3, 8, 8))
    after = augmenter(probability=0.1).draw(400, rng())(before)
    unchanged = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert 0.9**13 * 0.7 < np.mean(unchanged) < 0.9**12 * 1.4  # half of the flips and some turns are none


def test_nothing_to_augment_returns_the_images_themselves():
    before = images(2, (1, 8, 8))
    assert UNCHANGED(before) is before
    assert UNCHANGED.part(0, 1) is UNCHANGED


@each_policy
@each_shape
def test_augmented_images_are_finite_float32_of_the_same_shape(policy, shape):
    transformation = augmenter(shape, policy=policy, probability=0.9).draw(64, rng())
    for before in (images(64, shape), images(64, shape).bfloat16()):
        after = transformation(before)
        assert (after.shape, after.dtype) == (before.shape, torch.float32)
        assert after.isfinite().all()


@each_shape
def test_flip_is_numpys_in_half_of_the_images(shape):
    before, after = transformed("flip", shape)
    flipped = [which(b, [a, a[..., ::-1]]) for a, b in zip(before, after, strict=True)]
    assert 0.35 < np.mean(flipped) < 0.65


@each_shape
def test_quarter_turn_is_numpys_and_a_half_turn_where_sides_differ(shape):
    before, after = transformed("quarter_turn", shape)
    turns = range(4) if shape[1] == shape[2] else (0, 2)
    found = [which(b, [np.rot90(a, k, (1, 2)) for k in turns]) for a, b in zip(before, after, strict=True)]
    assert np.bincount(found, minlength=len(turns)).min() > 0.6 * len(found) / len(turns)


def test_shift_is_by_whole_pixels_with_mirrored_borders():
    before, after = transformed("shift", (2, 8, 16))
    offsets = list(itertools.product((-1, 0, 1), (-2, -1, 0, 1, 2)))
    padded = np.pad(before, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="symmetric")
    cut = [padded[:, :, 2 + y : 10 + y, 2 + x : 18 + x] for y, x in offsets]
    found = [which(b, [each[i] for each in cut]) for i, b in enumerate(after)]
    assert set(found) == set(range(len(offsets)))


def test_translation_is_by_whole_pixels_with_zeros_beyond():
    before, after = transformed("translation", (2, 8, 16))
    offsets = list(itertools.product((-1, 0, 1), (-2, -1, 0, 1, 2)))
    padded = np.pad(before, ((0, 0), (0, 0), (2, 2), (2, 2)))
    cut = [padded[:, :, 2 + y : 10 + y, 2 + x : 18 + x] for y, x in offsets]
    found = [which(b, [each[i] for each in cut]) for i, b in enumerate(after)]
    assert set(found) == set(range(len(offsets)))


def sources(operation: str, count: int = 400) -> np.ndarray:
    """Of each image, the 2x3 matrix that leads from a pixel of the result to its place in the image.

    Found from images whose two channels are the coordinates of each pixel, on a shape of different sides.
    """
    shape = (2, 40, 24)
    y, x = np.meshgrid(np.arange(40) - 19.5, np.arange(24) - 11.5, indexing="ij")
    ramps = torch.tensor(np.stack([x, y]), dtype=torch.float32).expand(count, *shape)
    after = only(operation, shape, count)(ramps).numpy()
    middle = (slice(None), slice(18, 22), slice(10, 14))  # far from mirrored borders
    places = np.stack([x[middle[1:]].ravel(), y[middle[1:]].ravel(), np.ones(16)], 1)
    found = []
    for image in after:
        matrix, residual, _, _ = np.linalg.lstsq(places, image[middle].reshape(2, -1).T, rcond=None)
        if residual.max() < 1e-3:
            found.append(matrix.T)
    assert len(found) > 0.97 * count  # the others reach beyond a border
    return np.array(found)


def test_scale_is_a_power_of_two_alike_along_both_axes():
    found = sources("scale")
    np.testing.assert_allclose(found[:, [0, 1], [1, 0]], 0, atol=1e-3)
    np.testing.assert_allclose(found[:, 0, 0], found[:, 1, 1], atol=1e-3)
    assert np.log2(found[:, 0, 0]).std() == pytest.approx(0.2, rel=0.15)
    assert abs(np.log2(found[:, 0, 0]).mean()) < 0.04


def test_stretch_keeps_the_area():
    found = sources("stretch")
    np.testing.assert_allclose(found[:, [0, 1], [1, 0]], 0, atol=1e-3)
    np.testing.assert_allclose(found[:, 0, 0] * found[:, 1, 1], 1, atol=1e-3)
    assert np.log2(found[:, 0, 0]).std() == pytest.approx(0.2, rel=0.15)


def test_rotate_is_a_rotation_of_pixels_by_any_angle():
    matrices = sources("rotate")[:, :, :2]
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (400, 2, 2)), atol=2e-3
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=2e-3)
    angles = np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 60


def test_fractional_shift_moves_by_an_eighth_of_the_side():
    found = sources("fractional_shift")
    np.testing.assert_allclose(found[:, :, :2], np.eye(2) + 0 * found[:, :, :2], atol=1e-2)
    assert np.median(np.abs(found[:, 0, 2])) == pytest.approx(0.6745 * 0.125 * 24, rel=0.2)
    assert np.median(np.abs(found[:, 1, 2])) == pytest.approx(0.6745 * 0.125 * 40, rel=0.2)


@each_shape
def test_brightness_adds_a_number_to_each_image(shape):
    before, after = transformed("brightness", shape, 600)
    added = (after - before).reshape(600, -1)
    assert np.ptp(added, axis=1).max() < 1e-6
    assert added[:, 0].std() == pytest.approx(0.2, rel=0.1) and abs(added[:, 0].mean()) < 0.03


@each_shape
def test_contrast_multiplies_each_image_by_a_number(shape):
    before, after = transformed("contrast", shape, 600)
    factors = np.median((after / before).reshape(600, -1), axis=1)
    np.testing.assert_allclose(after, factors[:, None, None, None] * before, atol=1e-5)
    assert np.log2(factors).std() == pytest.approx(0.5, rel=0.1) and abs(np.log2(factors).mean()) < 0.07


def test_luma_flip_negates_the_grey_of_half_of_the_images():
    before, after = transformed("luma_flip")
    flipped = before - 2 * before.mean(1, keepdims=True)
    found = [which(b, [a, f]) for a, b, f in zip(before, after, flipped, strict=True)]
    assert 0.35 < np.mean(found) < 0.65


def test_hue_rotates_colours_around_grey():
    before, after = transformed("hue")
    np.testing.assert_allclose(after.mean(1), before.mean(1), atol=1e-5)
    axis = np.full(3, 3**-0.5)
    angles = []
    for one, other in zip(before.reshape(200, 3, -1), after.reshape(200, 3, -1), strict=True):
        chroma, seen = one - one.mean(0), other - other.mean(0)
        crossed = np.cross(axis, chroma, axis=0)
        angle = np.arctan2((crossed * seen).sum(), (chroma * seen).sum())
        np.testing.assert_allclose(seen, np.cos(angle) * chroma + np.sin(angle) * crossed, atol=1e-5)  # Rodrigues
        angles.append(angle)
    assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 30


def test_saturation_multiplies_what_is_not_grey():
    before, after = transformed("saturation", count=600)
    grey = before.mean(1, keepdims=True)
    factors = np.median(((after - grey) / (before - grey)).reshape(600, -1), axis=1)
    np.testing.assert_allclose(after, grey + factors[:, None, None, None] * (before - grey), atol=1e-4, rtol=1e-4)
    assert np.log2(factors).std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 12), (2, 9, 7)], ids=str)
def test_cutout_leaves_a_square_of_zeros_of_half_the_side(shape):
    before, after = transformed("cutout", shape, 300)
    is_zero = (after == 0).all(1)
    heights, widths = is_zero.any(2).sum(1), is_zero.any(1).sum(1)
    assert np.array_equal(is_zero.sum((1, 2)), heights * widths)  # one rectangle
    np.testing.assert_array_equal(after, np.where(is_zero[:, None], 0, before))
    for lengths, side in ((heights, shape[1]), (widths, shape[2])):
        assert lengths.max() == -(-side // 2) and lengths.min() in (side // 4, side // 4 + 1)
    middle = is_zero[:, shape[1] // 2, shape[2] // 2].mean()
    assert 0.15 < middle < 0.4  # centres are anywhere: a quarter of the holes reach the middle


@each_shape
def test_diffaugment_colour_is_the_papers_formula(shape):
    before, after = transformed("colour", shape, 50)
    mean = before.mean((1, 2, 3))
    grey = before.mean(1, keepdims=True)
    for index, (one, other) in enumerate(zip(before, after, strict=True)):
        # brightness b, saturation s, contrast c: other = c s (one - grey) + c (grey - mean) + mean + b
        parts = np.stack([(one - grey[index]).ravel(), np.broadcast_to(grey[index] - mean[index], one.shape).ravel(),
                          np.ones(one.size)], 1)  # fmt: skip
        (both, contrast, level), _, _, _ = np.linalg.lstsq(parts, other.ravel(), rcond=None)
        np.testing.assert_allclose(parts @ [both, contrast, level], other.ravel(), atol=1e-5)
        assert 0.5 - 1e-5 <= contrast <= 1.5 + 1e-5
        assert -1e-5 <= both / contrast <= 2 + 1e-5
        assert abs(level - mean[index]) <= 0.5 + 1e-5


PIPE = get_args(PipeOperation)
CHANGED = {"flip": 0.5, "quarter_turn": 0.75, "shift": 0.75, "translation": 0.75, "luma_flip": 0.5}
"""Share of the images that an operation changes where it is drawn, on 8x8 pixels; others change all."""


@pytest.mark.parametrize("probability", [0.2, 0.7])
@pytest.mark.parametrize("operation", [*PIPE, *get_args(DiffAugmentOperation)[:2]])
def test_an_operation_is_applied_with_its_probability(operation, probability):
    count, shape = 2000, (3, 8, 8)
    before = images(1, shape).expand(count, *shape)
    after = only(operation, shape, count, probability)(before)
    share = float(((after - before).abs().amax((1, 2, 3)) > 1e-4).float().mean())
    assert share == pytest.approx(probability * CHANGED.get(operation, 1.0), abs=0.04)


@each_policy
@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 4, 5), (3, 5, 4), (4, 4, 4)], ids=str)
def test_augmentation_has_exact_derivatives_of_both_orders(policy, shape):
    transformation = augmenter(shape, policy=policy, probability=0.8).draw(2, rng(1))
    before = images(2, shape).double().requires_grad_(True)
    assert torch.autograd.gradcheck(transformation, (before,))
    assert torch.autograd.gradgradcheck(transformation, (before,))


def test_refining_keeps_pixels_and_the_sum_of_weights():
    matrix = refinement(6).double()
    torch.testing.assert_close(matrix[1::2], torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(1), torch.ones(13, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [4, 5, 32])
def test_refining_mirrors_beyond_the_edges(length):
    matrix = refinement(length).double().numpy()
    values = np.random.default_rng(0).normal(size=length)
    mirrored = np.concatenate([values[::-1], values, values[::-1]])
    inside = refinement(3 * length).double().numpy()[2 * length :][: 2 * length + 1] @ mirrored
    np.testing.assert_allclose((matrix @ values)[2:-2], inside[2:-2], atol=1e-6)
    np.testing.assert_allclose(matrix @ values, inside, atol=1e-6)


@each_policy
def test_a_part_of_an_augmentation_is_that_part_of_the_whole(policy):
    before = images(9, (3, 8, 8))
    whole = augmenter(policy=policy, probability=0.7).draw(9, rng())
    torch.testing.assert_close(whole.part(2, 6)(before[2:6]), whole(before)[2:6], atol=1e-6, rtol=0)


@pytest.mark.parametrize("batches", [1, 2])
def test_ranks_draw_the_augmentation_of_one_process(batches, monkeypatch):
    before = images(12, (3, 8, 8))
    whole = augmenter(probability=0.7).draw(12, rng(), batches)(before).view(batches, 3, -1, *before.shape[1:])
    for rank in range(3):
        monkeypatch.setattr(ranks, "current", lambda rank=rank: ranks.Ranks(rank, 3))
        share = before.view(batches, 3, -1, *before.shape[1:])[:, rank].flatten(0, 1)
        mine = augmenter(probability=0.7).draw(4, rng(), batches)(share)
        torch.testing.assert_close(mine, whole[:, rank].flatten(0, 1), atol=1e-6, rtol=0)


def test_drawing_an_augmentation_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    augmenter().draw(4, rng())(images(4, (3, 8, 8)))
    assert torch.equal(torch.get_rng_state(), before)


# The adaptive probability.


def adaptive(probability: float = 0.5, target: float = 0.6, length: int = 1000) -> Augmenter:
    settings = AdaptiveProbability(target=target, images_to_certainty=length)
    return augmenter(probability=probability, adaptive=settings)


def follow(
    module: Augmenter, real_logit: float, steps: int, anchor: float | None = 0.0, fake_logit: float = 0.0
) -> float:
    for _ in range(steps):
        module.note(torch.full((8,), real_logit), torch.full((8,), fake_logit), anchor)
        module.adapt(8)
    return float(module.probability)


def test_adaptive_augmentation_rises_by_1_in_its_length_while_d_is_too_sure():
    module = adaptive()
    follow(module, 3.0, 200)  # long enough for the average
    assert float(module.overfitting) == pytest.approx(1.0, abs=0.05)
    module.probability.fill_(0.5)
    assert follow(module, 3.0, 10) == pytest.approx(0.5 + 80 / 1000, abs=1e-5)


def test_adaptive_augmentation_falls_while_d_is_not_sure():
    assert follow(adaptive(), -3.0, 10) == pytest.approx(0.5 - 80 / 1000, abs=1e-5)


@pytest.mark.parametrize(("logit", "bound"), [(3.0, 1.0), (-3.0, 0.0)])
def test_adaptive_augmentation_stays_a_probability(logit, bound):
    assert follow(adaptive(length=100), logit, 300) == bound


@pytest.mark.parametrize(("anchor", "reals", "fakes", "sign"), [
    (0.0, 0.2, 9.0, 1), (0.5, 0.2, -9.0, -1), (None, 0.2, 9.0, -1), (None, -3.0, -4.0, 1),
])  # fmt: skip
def test_adaptive_augmentation_compares_reals_with_the_anchor_or_with_fakes(anchor, reals, fakes, sign):
    module = adaptive(target=0.0)
    follow(module, reals, 1, anchor, fakes)
    assert float(module.overfitting.sign()) == sign


def test_adaptive_augmentation_is_not_spoilt_by_nan_logits():
    module = adaptive()
    assert 0 <= follow(module, float("nan"), 3) <= 1
    assert module.overfitting.isfinite()


def test_the_state_of_an_augmenter_is_what_it_cannot_compute():
    assert set(adaptive().state_dict()) == {"probability", "overfitting"}
    assert set(augmenter().state_dict()) == {"probability"}
    assert not list(adaptive().parameters())
