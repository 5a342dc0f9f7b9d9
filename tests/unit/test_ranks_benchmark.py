"""The model of communication in benchmarks/ranks.py, against closed forms and a real state."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from gansmith import recipes
from gansmith.training.adversarial import Adversarial
from gansmith.training.estimate import random_batches

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "ranks.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("ranks_benchmark", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_ring_sends_twice_what_a_rank_does_not_have(program):
    assert program.ring_seconds(800.0, 8, bandwidth=100.0, hop=0.5) == pytest.approx(2 * 7 / 8 * 800 / 100 + 14 * 0.5)
    assert program.ring_seconds(800.0, 1, bandwidth=100.0, hop=0.5) == 0.0


def test_in_one_node_nothing_goes_between_nodes(program):
    assert program.all_reduce_seconds(1e6, 8) == program.ring_seconds(1e6, 8, program.NVLINK, program.NVLINK_HOP)
    between = program.ring_seconds(1e6 / 8, 2, program.INFINIBAND, program.INFINIBAND_HOP)
    assert program.all_reduce_seconds(1e6, 16) == pytest.approx(program.all_reduce_seconds(1e6, 8) + between)


@pytest.mark.parametrize(
    "changes", [{}, {"discriminator_steps": 3}, {"discriminator_steps": 3, "update": "simultaneous"}]
)
def test_a_step_sends_what_the_gradients_are(program, changes, monkeypatch):
    sent = []

    def note(parameters, values=()):
        sent.append(sum(p.grad.numel() * p.grad.element_size() for p in parameters if p.grad is not None))

    recipe = recipes.mlp().replace(**changes, batch_size=2)
    messages = program.work_of(recipe).messages
    objective = Adversarial()
    state = objective.initialise(recipe, 0, program.CPU)
    monkeypatch.setattr("gansmith.ranks.sum_gradients", note)
    objective.step(state, random_batches(objective, recipe, program.CPU))
    assert messages == tuple(sent)
