"""Names into objects: networks and optimisers of a recipe. Every builder also accepts the user's own object."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from gansmith import optimizers, runtime
from gansmith.networks import DISCRIMINATORS, ENCODERS, GENERATORS, NetworkClass
from gansmith.recipe import Recipe
from gansmith.settings import SGD, Adam, NetworkSettings, RMSprop, Settings


def build_generator(recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu") -> nn.Module:
    """Return the recipe's generator with weights drawn from `seed`: (latents, labels) -> samples.

    Its attribute `latent_dim` says how many latents a sample takes.
    """
    return _build("generator", GENERATORS, recipe.generator, recipe, recipe.num_classes, seed, device)


def build_discriminator(recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu") -> nn.Module:
    """Return the recipe's discriminator with weights drawn from `seed`: (samples, labels) -> (N,) logits.

    Raises:
        ValueError: the recipe is not adversarial.
    """
    return _build("discriminator", DISCRIMINATORS, recipe.discriminator, recipe, recipe.num_classes, seed, device)


def build_encoder(recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu") -> nn.Module:
    """Return the recipe's encoder with weights drawn from `seed`: samples -> (means, log-variances), each (N,
    latent_dim) of the generator's latents.

    Raises:
        ValueError: the recipe is no autoencoder.
    """
    return _build("encoder", ENCODERS, recipe.encoder, recipe, recipe.generator.latent_dim, seed, device)


def build_networks(recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu") -> dict[str, nn.Module]:
    """Return every network that the recipe trains, by name."""
    builders = {"generator": build_generator, "discriminator": build_discriminator, "encoder": build_encoder}
    return {name: builders[name](recipe, seed, device) for name in recipe.networks}


def _build(
    role: str, table: dict[str, NetworkClass], settings: NetworkSettings | None, recipe: Recipe, number: int, seed: int,
    device: torch.device | str,
) -> nn.Module:  # fmt: skip
    """Weights are drawn on the CPU, the same for every device; the caller's random state is left as it was."""
    if settings is None:
        raise ValueError(f"a recipe of objective {recipe.objective} has no {role}")
    network, arguments = table[settings.family], (settings, recipe.size, recipe.channels, number)
    if torch.device(device).type == "meta":
        with torch.device("meta"):
            return network(*arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(runtime.seed_of(seed, "weights", role))
        module = network(*arguments)
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def build_optimizer(settings: Settings, parameters: Iterable[Parameter]) -> Optimizer:
    """Return the torch optimiser that the settings describe, in the form that `optimizers.step_where` skips cheaply."""
    match settings:
        case Adam():
            betas = (settings.beta1, settings.beta2)
            return torch.optim.Adam(parameters, settings.learning_rate, betas, settings.epsilon, fused=True)
        case RMSprop():
            return optimizers.RMSprop(parameters, settings.learning_rate, settings.alpha, settings.epsilon)
        case SGD():
            return torch.optim.SGD(parameters, settings.learning_rate, settings.momentum, fused=True)
        case _:
            raise TypeError(f"{type(settings).__name__} describes no optimiser; there are Adam, RMSprop and SGD")


def num_parameters(module: nn.Module) -> int:
    """Return how many trainable numbers the module has."""
    return sum(parameter.numel() for parameter in module.parameters())
