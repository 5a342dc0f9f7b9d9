"""The networks of the plain loop (`plain.py`): gansmith's families in plain layers of PyTorch.

They carry the names of gansmith's. Maps have another order in memory, and so have the values where a map is flattened:
`load_into_plain` and `state_dict_from_plain` translate the weights.
"""

from __future__ import annotations

import math
from itertools import pairwise

import plain_r3gan
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu
from torch.nn.utils.parametrizations import spectral_norm


def base_of(size: list[int]) -> tuple[int, int, int]:
    """Return (height, width, doublings) of the smallest map: height and width are 4 to 7 times a power of two."""
    for doublings in range(1, 9):
        height, width = (side / 2**doublings for side in size)
        if 4 <= height <= 7 and 4 <= width <= 7 and height % 1 == width % 1 == 0:
            return int(height), int(width), doublings
    raise ValueError(f"size {size}: each side must be 4, 5, 6 or 7 times the same power of two")


def dense_layers(widths: list[int], norm: bool, dropout: float = 0.0, norm_on_first: bool = True) -> list[nn.Module]:
    """Dense layers, each with batch norm if asked for, LeakyReLU and dropout if any."""
    layers: list[nn.Module] = []
    for index in range(len(widths) - 1):
        has_norm = norm and (norm_on_first or index > 0)
        layers.append(nn.Linear(widths[index], widths[index + 1], bias=not has_norm))
        layers += [nn.BatchNorm1d(widths[index + 1])] if has_norm else []
        layers.append(nn.LeakyReLU(0.2))
        layers += [nn.Dropout(dropout)] if dropout else []
    return layers


class MLPGenerator(nn.Module):
    """Dense layers to an image."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        widths = [settings["latent_dim"], *settings["hidden"]]
        hidden = dense_layers(widths, settings["normalisation"] == "batch")
        self.layers = nn.Sequential(*hidden, nn.Linear(widths[-1], math.prod(shape)), nn.Tanh())
        self.shape = shape

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents).view(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """An image, flattened, through dense layers to a logit; also that of dense-conv."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        hidden = [factor * settings["width"] for factor in (8, 4, 2)] if "width" in settings else settings["hidden"]
        widths = [math.prod(shape), *hidden]
        layers = dense_layers(widths, settings["normalisation"] == "batch", settings["dropout"], norm_on_first=False)
        self.features = nn.Sequential(nn.Flatten(), *layers)
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(self.features(images)).squeeze(1)


class DCGANGenerator(nn.Module):
    """A dense layer to a small map, doubled by transposed convolutions (Radford et al. 2016)."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, doublings = base_of(shape[1:])
        kernel, has_stem, has_transposed_head = settings["kernel"], settings["stem"], settings["head"] == "transposed"
        num_hidden = doublings - has_transposed_head + has_stem
        first, *hidden = [settings["width"] * min(2**index, 16) for index in reversed(range(num_hidden + 1))]
        self.map_shape, self.fills_map = (first, height, width), ["project."]
        self.project = nn.Linear(settings["latent_dim"], math.prod(self.map_shape), bias=False)
        doubled = {"kernel_size": kernel, "stride": 2, "padding": (kernel - 1) // 2, "output_padding": kernel % 2}
        layers: list[nn.Module] = [nn.BatchNorm2d(first), nn.LeakyReLU(0.2)]
        before = first
        for index, after in enumerate(hidden):
            if has_stem and index == 0:
                odd = kernel | 1
                layers.append(nn.ConvTranspose2d(before, after, odd, padding=odd // 2, bias=False))
            else:
                layers.append(nn.ConvTranspose2d(before, after, bias=False, **doubled))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
            before = after
        if has_transposed_head:
            layers.append(nn.ConvTranspose2d(before, shape[0], bias=False, **doubled))
        else:
            layers.append(nn.Conv2d(before, shape[0], 3, padding=1))
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(self.project(latents).view(-1, *self.map_shape))


class DCGANDiscriminator(nn.Module):
    """Convolutions of stride 2, dense layers if any, and a logit, or the two heads of an autoencoder's encoder."""

    def __init__(self, settings: dict, shape: tuple[int, int, int], latent_dim: int | None = None) -> None:
        super().__init__()
        height, width, doublings = base_of(shape[1:])
        kernel, dropout = settings["kernel"], settings.get("dropout", 0.0)
        layers: list[nn.Module] = []
        before = shape[0]
        for index in range(doublings):
            after = settings["width"] * min(2**index, 16)
            has_norm = settings.get("normalisation") == "batch" and index > 0
            layers.append(nn.Conv2d(before, after, kernel, 2, (kernel - 1) // 2, bias=not has_norm))
            layers += [nn.BatchNorm2d(after)] if has_norm else []
            layers.append(nn.LeakyReLU(0.2))
            layers += [nn.Dropout(dropout)] if dropout else []
            before = after
        self.features = nn.Sequential(*layers)
        self.map_shape = (before, height, width)
        widths = [math.prod(self.map_shape), *settings.get("hidden", ())]
        self.dense = nn.Sequential(*dense_layers(widths, settings.get("normalisation") == "batch", dropout))
        self.reads_map = ["dense.0."] if widths[1:] else ["logit.", "mean.", "log_variance."]
        for name in ("logit",) if latent_dim is None else ("mean", "log_variance"):
            self.add_module(name, nn.Linear(widths[-1], latent_dim or 1))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.dense(self.features(images).flatten(1))
        if hasattr(self, "logit"):
            return self.logit(features).squeeze(1)
        return self.mean(features), self.log_variance(features)


class DenseConvGenerator(nn.Module):
    """Dense layers to a small map, then convolutions and nearest upsampling."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, doublings = base_of(shape[1:])
        base = settings["width"]
        self.map_shape = (4 * base, height, width)
        widths = [settings["latent_dim"], 4 * base, 8 * base, 16 * base, math.prod(self.map_shape)]
        dense: list[nn.Module] = []
        for before, after in pairwise(widths):
            dense += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.fills_map = [f"dense.{len(dense) - 3}.", f"dense.{len(dense) - 2}."]
        self.dense = nn.Sequential(*dense)
        hidden = [*([2 * base] * doublings), base]
        maps: list[nn.Module] = [nn.Conv2d(4 * base, hidden[0], 3, padding=1, bias=False)]
        for before, after in pairwise(hidden):
            maps += [nn.BatchNorm2d(before), nn.ReLU(), upsampled_convolution(before, after, bias=False)]
        maps += [nn.BatchNorm2d(base), nn.ReLU(), nn.Conv2d(base, shape[0], 3, padding=1), nn.Tanh()]
        self.maps = nn.Sequential(*maps)

    def forward(self, latents: Tensor) -> Tensor:
        return self.maps(self.dense(latents).view(-1, *self.map_shape))


def upsampled_convolution(before: int, after: int, bias: bool = True) -> nn.Sequential:
    """Nearest upsampling x2, then a convolution 3x3."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=bias))


class UpBlock(nn.Module):
    """A residual block that doubles the map (Miyato et al. 2018)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first_norm, self.first = nn.BatchNorm2d(before), upsampled_convolution(before, after)
        self.second_norm, self.second = nn.BatchNorm2d(after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 1))

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.first(relu(self.first_norm(maps)))
        return self.second(relu(self.second_norm(inner))) + self.shortcut(maps)


class DownBlock(nn.Module):
    """A residual block that may halve the map (Miyato et al. 2018)."""

    def __init__(self, before: int, after: int, is_first: bool, halves: bool) -> None:
        super().__init__()
        self.is_first, self.halves = is_first, halves
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if halves or before != after else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.second(relu(self.first(maps if self.is_first else relu(maps))))
        total = inner + self.shortcut(maps)
        return avg_pool2d(total, 2) if self.halves else total


class ResNetGenerator(nn.Module):
    """A dense layer to a small map, then residual blocks up."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, doublings = base_of(shape[1:])
        widths = [settings["width"] * min(settings["growth"] ** index, 16) for index in reversed(range(doublings + 1))]
        self.map_shape, self.fills_map = (widths[0], height, width), ["project."]
        self.project = nn.Linear(settings["latent_dim"], math.prod(self.map_shape))
        self.blocks = nn.Sequential(*(UpBlock(*pair) for pair in pairwise(widths)))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.image = nn.Conv2d(widths[-1], shape[0], 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        maps = self.blocks(self.project(latents).view(-1, *self.map_shape))
        return torch.tanh(self.image(relu(self.norm(maps))))


class ResNetDiscriminator(nn.Module):
    """Residual blocks down, then the sum over the map to a logit."""

    def __init__(self, settings: dict, shape: tuple[int, int, int]) -> None:
        super().__init__()
        doublings, growth = base_of(shape[1:])[2], settings["growth"]
        num_down, num_plain = (doublings + 1, 1) if growth == 2 else (max(doublings - 1, min(doublings, 2)), 2)
        blocks: list[nn.Module] = []
        before = shape[0]
        for index in range(num_down + num_plain):
            after = settings["width"] * min(growth**index, 16)
            blocks.append(DownBlock(before, after, is_first=index == 0, halves=index < num_down))
            before = after
        self.features = nn.Sequential(*blocks, nn.ReLU())
        self.logit = nn.Linear(before, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(self.features(images).sum((2, 3))).squeeze(1)


GENERATORS = {
    "mlp": MLPGenerator, "dcgan": DCGANGenerator, "dense-conv": DenseConvGenerator, "resnet": ResNetGenerator,
}  # fmt: skip
DISCRIMINATORS = {
    "mlp": MLPDiscriminator, "dcgan": DCGANDiscriminator, "dense-conv": MLPDiscriminator,
    "resnet": ResNetDiscriminator,
}  # fmt: skip


def draw_weights(network: nn.Module, family: str) -> None:
    """DCGANs: N(0, 0.02), scales of batch norm N(1, 0.02). Others: Glorot, in residual blocks with gain sqrt 2."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02) if family == "dcgan" else nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d) and family == "dcgan":
            nn.init.normal_(layer.weight, 1.0, 0.02)
    for block in network.modules():
        if isinstance(block, UpBlock | DownBlock):
            for layer in (*block.first.modules(), block.second):
                if isinstance(layer, nn.Conv2d):
                    nn.init.xavier_uniform_(layer.weight, math.sqrt(2))


def build_networks(recipe: dict) -> tuple[nn.Module, nn.Module]:
    """Return the generator and the discriminator (of an autoencoder: the encoder), with fresh weights."""
    shape = (recipe["channels"], *recipe["size"])
    if recipe["generator"]["family"] == "r3gan":
        return build_r3gan(recipe, shape)
    generator = GENERATORS[recipe["generator"]["family"]](recipe["generator"], shape)
    draw_weights(generator, recipe["generator"]["family"])
    if recipe["objective"] == "autoencoder":
        encoder = DCGANDiscriminator(recipe["encoder"], shape, recipe["generator"]["latent_dim"])
        draw_weights(encoder, recipe["encoder"]["family"])
        return generator, encoder
    settings = recipe["discriminator"]
    discriminator = DISCRIMINATORS[settings["family"]](settings, shape)
    draw_weights(discriminator, settings["family"])
    if settings["normalisation"] == "spectral":
        for layer in list(discriminator.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                spectral_norm(layer)
    return generator, discriminator


def build_r3gan(recipe: dict, shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """Return R3GAN's generator and discriminator with fresh weights."""
    base = base_of(recipe["size"])
    generator = plain_r3gan.R3GANGenerator(recipe["generator"], shape, base)
    discriminator = plain_r3gan.R3GANDiscriminator(recipe["discriminator"], shape, base)
    for network in (generator, discriminator):
        plain_r3gan.draw_weights(network)
    return generator, discriminator


def load_into_plain(network: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Copy the weights of gansmith's network (its `state_dict()`) into the plain one."""
    for key, value in network.state_dict().items():
        name, dim, order = counterpart(network, key)
        theirs = state_dict[name]
        value.copy_(theirs if order is None else theirs.index_select(dim, order))


def state_dict_from_plain(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights as gansmith's network of the same recipe takes them (`load_state_dict`)."""
    state_dict = {}
    for key, value in network.state_dict().items():
        name, dim, order = counterpart(network, key)
        state_dict[name] = value.clone() if order is None else value.index_select(dim, order.argsort())
    return state_dict


def counterpart(network: nn.Module, key: str) -> tuple[str, int, Tensor | None]:
    """Return how gansmith names a weight, and along which dimension it has another order, and which."""
    name = key.replace("_norm.", "_norm.norm.").replace("._u", ".left").replace("._v", ".right")
    for path, module in network.named_modules():
        if isinstance(module, nn.Sequential) and any(isinstance(layer, nn.Upsample) for layer in module):
            name = name.replace(f"{path}.1.", f"{path}.")
    if "map_shape" not in vars(network) or key.endswith("num_batches_tracked"):
        return name, 0, None
    channels, height, width = network.map_shape
    order = torch.arange(channels * height * width).view(height, width, channels).permute(2, 0, 1).flatten()
    if key.startswith(tuple(vars(network).get("fills_map", ()))):
        return name, 0, order
    reads = key.startswith(tuple(vars(network).get("reads_map", ()))) and not key.endswith(("bias", "_u"))
    return name, -1, order if reads else None
