"""Deep convolutional GANs (Radford et al. 2016): transposed convolutions up, strided convolutions down.

One family, three published forms: the settings choose the kernel, the stem and the head; the image size decides the
number of stages (`sizes.stages_of`).
"""

from __future__ import annotations

from torch import Tensor, nn

from gansmith.layers.attention import attention_at
from gansmith.layers.blocks import (
    INITIAL_STD,
    apply_spectral_norm,
    dense_stack,
    from_map,
    initialise_normal,
    leaky_relu,
    to_map,
)
from gansmith.layers.dropout import Dropout
from gansmith.layers.fold import folded, pairs_in
from gansmith.layers.fourier import FourierConv2d, FourierConvTranspose2d, takes_fewer
from gansmith.layers.labels import JoinedLatents, Logit
from gansmith.layers.minibatch_std import MinibatchStd
from gansmith.layers.product import DoublingConvTranspose2d, HalvingConv2d
from gansmith.layers.resample import MOST_THIN_CHANNELS, ThinConv2d, ThinConvTranspose2d
from gansmith.runtime import at_least_float32, full_precision
from gansmith.settings import DCGANDiscriminator, DCGANEncoder, DCGANGenerator
from gansmith.sizes import Size, required_stages

WIDEST = 16
"""A map has at most this many times `width` channels, as in the published 64x64 network."""


def _widths(width: int, count: int) -> list[int]:
    """Return `count` channel numbers, smallest first: width, 2 width, 4 width, ... up to 16 width."""
    return [width * min(2**index, WIDEST) for index in range(count)]


def _doubling(before: int, after: int, kernel: int, size: Size) -> nn.ConvTranspose2d:
    """A transposed convolution that exactly doubles maps of this size."""
    if after <= MOST_THIN_CHANNELS:
        return ThinConvTranspose2d(before, after, kernel)
    if takes_fewer(size, kernel, 2, before, after):
        return FourierConvTranspose2d(before, after, kernel, size, stride=2)
    if kernel == 4:
        return DoublingConvTranspose2d(before, after)
    padding = (kernel - 1) // 2
    return nn.ConvTranspose2d(before, after, kernel, 2, padding, output_padding=kernel % 2, bias=False)


def _stem(before: int, after: int, kernel: int, size: Size) -> nn.ConvTranspose2d:
    """A transposed convolution, of an odd kernel, that keeps the size of its map."""
    if takes_fewer(size, kernel, 1, before, after):
        return FourierConvTranspose2d(before, after, kernel, size)
    return nn.ConvTranspose2d(before, after, kernel, 1, kernel // 2, bias=False)


def _halving(before: int, after: int, kernel: int, bias: bool, size: Size) -> nn.Conv2d:
    """A convolution that exactly halves maps, to this size."""
    if before <= MOST_THIN_CHANNELS:
        return ThinConv2d(before, after, kernel, bias)
    if takes_fewer(size, kernel, 2, after, before):
        return FourierConv2d(before, after, kernel, size, bias)
    if kernel == 4:
        return HalvingConv2d(before, after, bias)
    return nn.Conv2d(before, after, kernel, 2, (kernel - 1) // 2, bias=bias)


class DCGANGeneratorNetwork(nn.Module):
    """Latents -> base map -> doubled until it is an image.

    Args:
        settings: width, kernel, stem, head, latent dimension, attention.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        num_classes: 0 for none.
    """

    def __init__(self, settings: DCGANGenerator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        stages = required_stages(size)
        self.latent_dim = settings.latent_dim
        num_hidden = stages.num_doublings - (settings.head == "transposed") + settings.stem
        first, *hidden = reversed(_widths(settings.width, num_hidden + 1))
        self.base_shape = (first, stages.height, stages.width)
        self.join = JoinedLatents(settings.latent_dim, num_classes)
        self.project = nn.Linear(self.join.out_features, first * stages.height * stages.width, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(first), leaky_relu()]
        before, map_size = first, (stages.height, stages.width)
        for index, after in enumerate(hidden):
            if settings.stem and index == 0:
                layers.append(_stem(before, after, settings.kernel | 1, map_size))
            else:
                layers += attention_at(settings.attention, before, map_size)
                layers.append(_doubling(before, after, settings.kernel, map_size))
                map_size = (2 * map_size[0], 2 * map_size[1])
            layers += [nn.BatchNorm2d(after), leaky_relu()]
            before = after
        if settings.head == "transposed":
            layers += attention_at(settings.attention, before, map_size)
            layers.append(_doubling(before, channels, settings.kernel, map_size))
        else:
            layers.append(nn.Conv2d(before, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers, nn.Tanh())
        initialise_normal(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N, C, H, W) in [-1, 1] for latents (N, latent_dim) and labels (N,) where there are classes."""
        images: Tensor = self.layers(to_map(self.project(self.join(latents, labels)), self.base_shape))
        return images

    def for_sampling(self) -> DCGANGeneratorNetwork:
        """Return a copy for eval mode that computes the same with fewer operations; this network stays as it is."""
        form = folded(self, [("project", "layers.0"), *pairs_in("layers", self.layers)])
        for layer in form.layers:
            if isinstance(layer, FourierConvTranspose2d):
                layer.fix()
        return form


def _halvings(
    width: int, kernel: int, size: Size, channels: int, has_batch_norm: bool = False, dropout: float = 0.0,
    attention: int | None = None,
) -> nn.Sequential:  # fmt: skip
    """Convolutions of stride 2 from images down to the base map; batch norm not on the first."""
    layers: list[nn.Module] = []
    before, map_size = channels, size
    for index, after in enumerate(_widths(width, required_stages(size).num_doublings)):
        batch_norm = has_batch_norm and index > 0
        map_size = (map_size[0] // 2, map_size[1] // 2)
        layers.append(_halving(before, after, kernel, not batch_norm, map_size))
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers += [Dropout(dropout)] if dropout else []
        layers.append(leaky_relu())  # with dropout before it, the same: values are scaled by 0 or more
        layers += attention_at(attention, after, map_size)
        before = after
    return nn.Sequential(*layers)


def _num_features(width: int, size: Size) -> int:
    """Numbers in the base map that `_halvings` ends in."""
    stages = required_stages(size)
    return _widths(width, stages.num_doublings)[-1] * stages.height * stages.width


class DCGANDiscriminatorNetwork(nn.Module):
    """Images -> halved until the base map -> dense layers, if any -> one logit each.

    Arguments as `DCGANGeneratorNetwork`.
    """

    def __init__(self, settings: DCGANDiscriminator, size: Size, channels: int, num_classes: int = 0) -> None:
        super().__init__()
        stages, has_batch_norm = required_stages(size), settings.normalisation == "batch"
        self.features = _halvings(
            settings.width, settings.kernel, size, channels, has_batch_norm, settings.dropout, settings.attention
        )
        num_features = _num_features(settings.width, size)
        if settings.minibatch_std:
            self.features.append(MinibatchStd())
            num_features += stages.height * stages.width
        widths = (num_features, *settings.hidden)
        self.dense = dense_stack(widths, settings.normalisation, settings.dropout)
        self.logit = Logit(widths[-1], num_classes)
        initialise_normal(self)
        if self.logit.embedding is not None:
            nn.init.normal_(self.logit.embedding.weight, 0.0, INITIAL_STD)
        if settings.normalisation == "spectral":
            apply_spectral_norm(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return (N,) float32 logits for images (N, C, H, W) in [-1, 1] and labels (N,) where there are classes."""
        logits: Tensor = self.logit(self.dense(from_map(self.features(images))), labels)
        return logits


class DCGANEncoderNetwork(nn.Module):
    """Images -> halved until the base map -> a normal distribution of latents each.

    The body of `DCGANDiscriminatorNetwork`. No batch norm: the statistics of an averaged encoder could only be
    measured on data, those of a generator on latents (`ema.settle_generator`).

    Args:
        settings: width, kernel.
        size: (height, width) of the images; one that `sizes.stages_of` knows.
        channels: of the images.
        latent_dim: of the latents.
    """

    def __init__(self, settings: DCGANEncoder, size: Size, channels: int, latent_dim: int) -> None:
        super().__init__()
        self.features = _halvings(settings.width, settings.kernel, size, channels)
        num_features = _num_features(settings.width, size)
        self.mean = nn.Linear(num_features, latent_dim)
        self.log_variance = nn.Linear(num_features, latent_dim)
        initialise_normal(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log-variances, each (N, latent_dim) float32 even under autocast, for images (N, C, H, W) in
        [-1, 1].
        """
        features = from_map(self.features(images))
        with full_precision(images.device):
            features = at_least_float32(features)
            return self.mean(features), self.log_variance(features)
