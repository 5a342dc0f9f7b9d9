from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gansmith.errors import UsageError
from gansmith.runtime import (
    at_least_float32,
    autocast,
    best_precision,
    choose_device,
    generator_for,
    machine_facts,
    precision_text,
    seed_of,
    use_ieee_float32,
)

parts = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)
CPU = torch.device("cpu")


def test_seeds_are_the_same_for_ever():
    assert seed_of(0) == 2631537505891389924
    assert seed_of(0, "weights", "generator") == 159068129461918315


@given(parts)
def test_seeds_fit_torch_and_numpy(values):
    assert 0 <= seed_of(*values) < 2**63


def test_seeds_of_different_parts_are_distinct():
    made = [
        *(seed_of(seed, "step", images, phase) for seed in range(5) for images in range(50) for phase in ("d", "g")),
        *(seed_of(seed, "weights") for seed in range(50)),
        seed_of(),
        seed_of(1),
        seed_of("1"),
        seed_of(1, 1),
        seed_of("1, 1"),
        seed_of(11),
        seed_of(1, ""),
    ]
    assert len(set(made)) == len(made)


def test_a_generator_draws_a_function_of_its_parts():
    def draws(*values):
        return torch.rand(4, generator=generator_for(CPU, *values))

    assert torch.equal(draws(1, "a"), draws(1, "a"))
    assert not torch.equal(draws(1, "a"), draws(1, "b"))


def test_auto_is_the_gpu_if_there_is_one():
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("auto") == choose_device()


def test_the_cpu_is_always_there():
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cuda:-1", "cuda:x", "cpu,cuda"])
def test_what_is_no_device_is_refused_with_what_to_write(name):
    with pytest.raises(UsageError, match="not a device; write auto, cpu, cuda or cuda:0") as error:
        choose_device(name)
    assert f"--device {name}:" in str(error.value)


@pytest.mark.parametrize("name", ["cuda:99", "mps", "meta"])
def test_a_device_that_is_not_here_is_refused_with_what_is(name):
    with pytest.raises(UsageError, match="this machine has cpu") as error:
        choose_device(name)
    assert f"--device {name}:" in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_on_a_machine_without_one_is_refused():
    with pytest.raises(UsageError, match="no GPU that torch can use"):
        choose_device("cuda")


def test_autocast_computes_matrix_products_in_the_precision():
    one = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (one @ one).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (one @ one).dtype == torch.float32


def test_the_best_precision_of_this_cpu_is_one_that_a_recipe_knows():
    assert best_precision(CPU) in ("float32", "bfloat16")


def test_machine_facts_name_what_repetition_depends_on():
    facts = machine_facts(CPU)
    assert set(facts) == {"torch", "threads", "cpu", "device", "ranks"}
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert (facts["device"], facts["ranks"]) == ("cpu", 1)


def test_float32_is_float32_on_gpus_by_torchs_older_and_newer_settings():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.fp32_precision
    try:
        use_ieee_float32()
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert not torch.backends.cudnn.allow_tf32  # torch raises where the two disagree
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.fp32_precision = before


def test_first_line_of_a_run_says_what_float32_is_on_a_gpu():
    assert precision_text(CPU, "bfloat16") == "bfloat16 on cpu"
    assert precision_text(torch.device("cuda:1"), "float32") == "float32 on cuda:1, float32 without TF32"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_in_use_grows_with_a_large_tensor():
    script = (
        "import torch; from gansmith.runtime import memory_in_use; cpu = torch.device('cpu');"
        "before = memory_in_use(cpu); held = torch.ones(32 * 2**20);"  # 128 MiB, touched
        "print(memory_in_use(cpu) - before)"
    )
    grown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert int(grown) > 100 * 2**20


@pytest.mark.parametrize(
    ("before", "after"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_at_least_float32_raises_precision_and_never_lowers_it(before: torch.dtype, after: torch.dtype) -> None:
    values = torch.tensor([1.5, -2.0], dtype=before)
    raised = at_least_float32(values)
    assert raised.dtype == after
    assert raised.tolist() == [1.5, -2.0]
