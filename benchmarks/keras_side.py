"""The Keras side of `keras_dcgan.py`: the DCGAN of the TensorFlow tutorial, for the environment that has TensorFlow.

    .venv-keras/bin/python benchmarks/keras_side.py RECIPE.json IMAGES.npy WARM_UP_SECONDS [xla] [bfloat16]

The tutorial's networks, losses, `tf.function` step and `tf.data` pipeline, written for Keras 3. Only numbers differ
from its text, and are those of the recipe: batch norm's eps 1e-5 and momentum 0.1 (Keras counts it as 0.9), initial
weights N(0, 0.02), slope 0.2, rate, beta1, batch size.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from stretches import serve

BUFFER_SIZE = 60_000


def main() -> None:
    """Set up from the arguments and serve."""
    recipe_file, images_file, warm_up, *options = sys.argv[1:]
    recipe = json.loads(Path(recipe_file).read_text())
    if "bfloat16" in options:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras.utils.set_random_seed(0)
    networks = make_generator(recipe["generator"]), make_discriminator(recipe["discriminator"])
    train_step = make_train_step(recipe, *networks, with_xla="xla" in options)
    batches = batches_of(np.load(images_file), recipe["batch_size"])

    def step() -> int:
        train_step(next(batches))  # finished when it returns, without a GPU
        return int(recipe["batch_size"])

    facts = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "xla": "xla" in options,
        "num_parameters": sum(int(np.prod(v.shape)) for network in networks for v in network.trainable_variables),
        "precision": keras.mixed_precision.global_policy().name,
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or "as many as cores",
    }
    serve(step, facts, float(warm_up))


def batches_of(images: np.ndarray[Any, Any], batch_size: int) -> Iterator[tf.Tensor]:
    """Return whole shuffled batches (N, H, W, C) float32 in [-1, 1], without end, of uint8 images of that shape."""
    scaled = (images.astype("float32") - 127.5) / 127.5
    dataset = tf.data.Dataset.from_tensor_slices(scaled).shuffle(BUFFER_SIZE).repeat()
    return iter(dataset.batch(batch_size, drop_remainder=True).prefetch(1))


def normal() -> keras.Initializer:
    """Return N(0, 0.02)."""
    return keras.initializers.RandomNormal(0.0, 0.02)


def batch_norm() -> layers.Layer:
    """Return batch norm with torch's numbers and a scale from N(1, 0.02)."""
    scale = keras.initializers.RandomNormal(1.0, 0.02)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, gamma_initializer=scale)


def make_generator(settings: dict[str, Any]) -> keras.Model:
    """Return latents -> 7x7 -> 14x14 -> (28, 28, 1) in [-1, 1]."""
    width, kernel = settings["width"], settings["kernel"]

    def up(channels: int, strides: int, activation: str | None = None) -> layers.Layer:
        return layers.Conv2DTranspose(
            channels,
            kernel,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=normal(),
            activation=activation,
        )

    return keras.Sequential([
        keras.Input((settings["latent_dim"],)),
        layers.Dense(7 * 7 * 4 * width, use_bias=False, kernel_initializer=normal()),
        layers.Reshape((7, 7, 4 * width)), batch_norm(), layers.LeakyReLU(0.2),
        up(2 * width, 1), batch_norm(), layers.LeakyReLU(0.2),
        up(width, 2), batch_norm(), layers.LeakyReLU(0.2),
        up(1, 2, "tanh"),
    ])  # fmt: skip


def make_discriminator(settings: dict[str, Any]) -> keras.Model:
    """Return (28, 28, 1) -> 14x14 -> 7x7 -> a logit."""
    width, kernel, dropout = settings["width"], settings["kernel"], settings["dropout"]

    def down(channels: int) -> layers.Layer:
        return layers.Conv2D(channels, kernel, 2, padding="same", kernel_initializer=normal())

    return keras.Sequential([
        keras.Input((28, 28, 1)),
        down(width), layers.LeakyReLU(0.2), layers.Dropout(dropout),
        down(2 * width), layers.LeakyReLU(0.2), layers.Dropout(dropout),
        layers.Flatten(), layers.Dense(1, kernel_initializer=normal(), dtype="float32"),
    ])  # fmt: skip


def make_train_step(
    recipe: dict[str, Any], generator: keras.Model, discriminator: keras.Model, with_xla: bool
) -> Callable[[tf.Tensor], Any]:
    """Return the tutorial's step: both networks forward under two tapes, both gradients, both optimisers."""
    optimizers = [
        keras.optimizers.Adam(s["learning_rate"], s["beta1"], s["beta2"], s["epsilon"])
        for s in (recipe["generator_optimizer"], recipe["discriminator_optimizer"])
    ]
    for network, optimizer in zip((generator, discriminator), optimizers, strict=True):
        optimizer.build(network.trainable_variables)  # variables cannot be made inside a function
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    latents_shape = (recipe["batch_size"], recipe["generator"]["latent_dim"])

    @tf.function(jit_compile=with_xla)
    def train_step(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        latents = tf.random.normal(latents_shape)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake_images = generator(latents, training=True)
            real_logits = discriminator(images, training=True)
            fake_logits = discriminator(fake_images, training=True)
            generator_loss = cross_entropy(tf.ones_like(fake_logits), fake_logits)
            real_loss = cross_entropy(tf.ones_like(real_logits), real_logits)
            discriminator_loss = real_loss + cross_entropy(tf.zeros_like(fake_logits), fake_logits)
        tapes = (generator_tape, generator_loss), (discriminator_tape, discriminator_loss)
        for (tape, loss), network, optimizer in zip(tapes, (generator, discriminator), optimizers, strict=True):
            variables = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return generator_loss, discriminator_loss

    return train_step


if __name__ == "__main__":
    main()
