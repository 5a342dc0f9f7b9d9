"""An objective unlike the adversarial one, to keep the frame general: two generators, pairs, samples (N, 1, T)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from gansmith import runtime
from gansmith.data import Batch, Order
from gansmith.data.order import Indices
from gansmith.ema import ema_decay, update_ema
from gansmith.recipe import Recipe
from gansmith.training.state import TrainState

LENGTH = 12


class PairedWaves:
    """20 pairs of uint8 waves (1, T): what is to be made, and what it is to be made from."""

    name = "waves"
    fingerprint = "0123456789abcdef"

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self._waves = random.integers(0, 256, (20, 1, LENGTH), dtype=np.uint8)
        self._conditions = random.integers(0, 256, (20, 1, LENGTH), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._waves)

    def batch(self, indices: Indices) -> Batch:
        condition = torch.from_numpy(self._conditions[indices]).float() / 127.5 - 1
        return Batch(torch.from_numpy(self._waves[indices]), condition=condition)

    def order(self, seed: int, stream: str) -> Order:
        return Order(seed, len(self), stream)


class WaveGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = LENGTH
        self.layer = nn.Linear(LENGTH, LENGTH)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        waves: Tensor = torch.tanh(self.layer(latents)).unsqueeze(1)
        return waves


class Translation:
    """Two generators that learn to turn conditions into waves and back, from pairs, with noise drawn per step."""

    def initialise(self, recipe: Recipe, seed: int, device: torch.device) -> TrainState:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(runtime.seed_of(seed, "weights"))
            there, back = WaveGenerator(), WaveGenerator()
        modules: dict[str, nn.Module] = {"generator": there, "back": back}
        return TrainState(
            recipe=recipe,
            seed=seed,
            device=device,
            modules=modules,
            optimizers={name: torch.optim.Adam(module.parameters(), 1e-2) for name, module in modules.items()},
            ema={name: copy.deepcopy(module).requires_grad_(False).eval() for name, module in modules.items()},
        )

    def batches(self, recipe: Recipe) -> dict[str, int]:
        return {"real_d": recipe.batch_size, "extra": 3}

    def step(self, state: TrainState, batches: dict[str, Batch]) -> dict[str, Tensor]:
        pair, size = batches["real_d"], len(batches["real_d"].images)
        assert pair.condition is not None
        rng = runtime.generator_for(state.device, state.seed, state.counters["images"])
        noise = 0.1 * torch.randn(pair.condition.shape, generator=rng)
        waves = state.modules["generator"]((pair.condition + noise).squeeze(1))
        conditions = state.modules["back"](pair.images.squeeze(1))
        losses = {
            "generator": (waves - pair.images).square().mean(),
            "back": (conditions - pair.condition).square().mean(),
        }
        for name, loss in losses.items():
            state.optimizers[name].zero_grad()
            torch.autograd.backward(loss)
            state.optimizers[name].step()
        state.counters["images"] += size
        state.counters["steps"] += 1
        for name, average in state.ema.items():
            update_ema(average, state.modules[name], ema_decay(100, state.counters["images"], size))
        return {f"loss_{name}": loss.detach() for name, loss in losses.items()}

    def settle(self, state: TrainState) -> None:
        """Nothing here has batch norm."""

    def preview(self, state: TrainState, seed: int, reals: Batch) -> Tensor:
        rng = runtime.generator_for(torch.device("cpu"), seed)
        with torch.no_grad():
            samples: Tensor = state.ema["generator"](torch.randn(4, LENGTH, generator=rng))
        return samples

    def generator(self, state: TrainState) -> nn.Module:
        return state.ema["generator"]
