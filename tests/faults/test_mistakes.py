"""Rows 25 to 28: what people mistype, files they hand over, extras and devices that are not there.

Every option and field, one by one: `tests/unit/test_cli_parsing.py`, `test_overrides.py` and `test_recipe.py`.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gansmith
from gansmith.cli import main
from tests.end_to_end.processes import environment
from tests.faults import command
from tests.faults.limits import half_a_gigabyte, without_extras
from tests.faults.test_checkpoints import refused

pytestmark = pytest.mark.faults
NOT_THERE_YET = "comes with a later change"
TRAIN = "train digits --out run --images 64 "


def told(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command says about arguments that it refuses with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(shlex.split(arguments))
    assert caught.value.code == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert len(errors) < 3_000
    return errors


def test_25_all_mistakes_are_told_at_once_with_near_matches_and_without_torch(tmp_path: Path) -> None:
    arguments = (
        "train digits --images=-1 --minutes x --seed -4 --size 3x --chanels 1 --set generator.widht=32 "
        "--set batch_size=many --set generator_optimizer.learning_rate=0 --set loss=hnge"
    )
    code = (
        "import sys\nfrom gansmith.cli import main\n"
        f"try:\n    main({shlex.split(arguments)!r})\nfinally:\n    print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "False\n"), result.stderr
    head, *problems = result.stderr.splitlines()
    assert head == f"gansmith: {len(problems)} mistakes"
    for text in (
        "--images -1: '-1' is not a count", "--minutes x: 'x' is not a number", "--seed -4", "'--channels'",
        "did you mean 'width'", "batch_size: 'many' does not fit", "a rate of 0 would train nothing",
        "'hnge' is not one of", "did you mean 'hinge'",
    ):  # fmt: skip
        assert text in result.stderr, text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("--images -1", ["'-1' is not a count"]),
        ("--images 0", ["'0' is not a count"]),
        ("--recipe dcgn-28", ["'dcgan-28'"]),
        ("--size 30 --recipe dcgan-28", ["size 30x30 does not fit", "the nearest that fits is 28x28"]),
        ("--set batch_size=0", ["batch_size: 0 does not fit"]),
        ("--set batch_size=1.5", ["batch_size: 1.5 does not fit"]),
        ("--set strange=1", ["there is no field 'strange'"]),
        ("--set generator.width=99999999999999999999", ["generator.width: 99999999999999999999 does not fit"]),
        ("--set 'generator=!!python/object/apply:os.mkdir [run]'", ["not readable as YAML"]),
        ("--set loss", ["write it as field=value"]),
        ("--fit strech", ["strech", "stretch"]),
    ],
    ids=[
        "25-images-negative", "25-images-zero", "25-recipe-typo", "25-size-that-does-not-fit", "25-batch-of-zero",
        "25-wrong-type", "25-unknown-field", "25-out-of-range", "25-object-in-set", "25-no-value", "25-fit-typo",
    ],
)  # fmt: skip
def test_mistake_names_its_place_and_value(
    arguments: str,
    texts: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    errors = told(TRAIN.replace("--images 64", "") + arguments, capsys)
    for text in texts:
        assert text in errors, errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"images": -1}, "images=-1: must be a whole number above 0"),
        ({"images": 1.5}, "images=1.5: must be a whole number above 0"),
        ({"images": True}, "images=True: must be a whole number above 0"),
        ({"images": None, "minutes": "2"}, "minutes='2': must be a number above 0"),
        ({"images": None, "minutes": float("nan")}, "minutes=nan: must be a number above 0"),
        ({"channels": "3"}, "channels='3': must be a whole number above 0"),
        ({"recipe": 5}, "recipe=5: give a name or a Recipe"),
        ({"overrides": [3]}, r"overrides=\[3\]: give a list of texts"),
        ({"device": 3}, "device=3: give a text"),
        ({"data": 5}, "data is a int; give a path"),
    ],
    ids=[
        "25-images-negative", "25-images-fraction", "25-images-true", "25-minutes-text", "25-minutes-nan",
        "25-channels-text", "25-recipe-number", "25-overrides-number", "25-device-number", "25-data-number",
    ],
)  # fmt: skip
def test_wrong_type_in_a_python_call_is_named(settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
    arguments = {"data": "digits", "images": 64, "out": tmp_path / "run", "quiet": True, **settings}
    with pytest.raises(gansmith.GansmithError, match=problem) as caught:
        gansmith.train(arguments.pop("data"), **arguments)
    assert caught.value.exit_code in (2, 3)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def alias_bomb() -> str:
    levels = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join([*levels, "data: *a9", "recipe: *a9", "request: {recipe: *a9}"])


FILES = {
    "empty": b"",
    "tabs": b"data: digits\n\tseed: 0\n",
    "duplicate-keys": b"data: digits\ndata: mnist\n",
    "python-object": b"data: !!python/object/apply:os.mkdir [executed]\n",
    "two-megabytes": b"# " + b"x" * 2**21,
    "alias-bomb": alias_bomb().encode(),
    "merge-bomb": b"a: &a {x: 1}\nb: &b {<<: [*a, *a], y: *a}\ndata: {<<: *b}\n",
    "self-reference": b"data: &a [*a]\nrecipe: *a\n",
    "deep-nesting": b"data: " + b"[" * 50_000,
    "deep-flow-mapping": b"{a: " * 5_000,
    "binary": bytes(range(256)) * 8,
    "a-list": b"- 1\n- 2\n",
}


@pytest.mark.parametrize("name", FILES, ids=[f"26-{name}" for name in FILES])
def test_config_that_describes_no_run_is_refused_quickly_and_in_few_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(FILES[name])
    result = command.gansmith("train --config my.yaml --out run", tmp_path, half_a_gigabyte)
    refused(result, 2, "my.yaml: ")
    assert len(result.errors) < 3_000
    assert len(result.errors.splitlines()) <= 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.yaml"]


def test_26_config_that_is_a_folder_or_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read (Is a directory)" in told(f"train --config {tmp_path}", capsys)
    assert "cannot be read (No such file or directory)" in told(f"train --config {tmp_path / 'x.yaml'}", capsys)


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("gansmith.training.track", TRAIN + "--recipe mlp --track", "track"),
        ("gansmith.data.sources.hub", "train mnist --out run --images 64", "hub"),
        ("gansmith.data.sources.hub", "train hub:someone/photos --out run --images 64", "hub"),
    ],
    ids=["27-track", "27-hub-by-name", "27-hub"],
)
def test_missing_extra_says_what_to_install_before_anything_is_trained(
    module: str, arguments: str, extra: str, tmp_path: Path
) -> None:
    package = module.rpartition(".")[0]
    source = importlib.util.find_spec(package)
    if source is None or source.submodule_search_locations is None or importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} {NOT_THERE_YET}")
    result = command.gansmith(arguments, tmp_path, without_extras)
    refused(result, 2, f"pip install 'gansmith[{extra}]'")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("cuda", "--device cuda: this machine has cpu, and no GPU that torch can use"),
        ("cuda:7", "--device cuda:7: this machine has cpu, and no GPU that torch can use"),
        ("mps", "--device mps: this machine has cpu"),
        ("gpu", "--device gpu: not a device; write auto, cpu, cuda or cuda:0"),
        ("cuda:x", "--device cuda:x: not a device"),
        ("cuda:-1", "--device cuda:-1: not a device"),
        ("cpu:1", "--device cpu:1: this machine has cpu"),
        ("''", "--device : not a device"),
    ],
    ids=["28-cuda", "28-cuda-7", "28-mps", "28-gpu", "28-cuda-x", "28-cuda-minus-1", "28-cpu-1", "28-empty"],
)  # fmt: skip
def test_device_that_is_not_there_says_what_is(
    device: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in told(TRAIN + f"--device {device}", capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_28_more_gpus_than_there_are_says_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "this machine has cpu and" in told(f"train digits --out {tmp_path} --device cuda:99", capsys)
