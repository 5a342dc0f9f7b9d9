from __future__ import annotations

import torch

from gansmith.layers.labels import JoinedLatents


def test_the_class_is_joined_with_length_1_whatever_the_embedding_has_grown_to():
    joined = JoinedLatents(5, 3)
    with torch.no_grad():
        joined.embedding.weight.mul_(torch.tensor([[0.01], [1.0], [100.0]]))
    latents = torch.randn(3, 5)
    result = joined(latents, torch.tensor([0, 1, 2]))
    assert result.shape == (3, joined.out_features)
    assert torch.equal(result[:, :5], latents)
    torch.testing.assert_close(result[:, 5:].norm(dim=1), torch.ones(3))


def test_without_classes_latents_pass_as_they_are():
    latents = torch.randn(3, 5)
    assert JoinedLatents(5, 0)(latents, None) is latents
