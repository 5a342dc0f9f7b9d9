"""13: a training that fails says so: on the console, in its records, in `show`, and in reports."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import pytest

import gansmith
from gansmith.cli.show import ShowCommand
from gansmith.report import load_report
from gansmith.training import loop
from gansmith.training.log import Metrics

SHRINKING = (
    "generator.hidden=[16]", "discriminator.hidden=[16]", "generator.latent_dim=4", "batch_size=32",
    "generator_optimizer.learning_rate=0.01", "regularisation.l1=1", "precision=float32",
)  # fmt: skip
"""L1 so strong that no weight is left: G makes one grey picture for all latents."""
IMAGES, MORE = 20_000, 21_000


def trained(folder: Path, images: int) -> str:
    """Train, or go on, with a record after almost every step; return what was said."""
    console = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(console):
        patch.setattr(loop, "LOG_INTERVAL_SECONDS", 0.01)
        gansmith.train("digits", "mlp", overrides=SHRINKING, images=images, out=folder)
    return console.getvalue()


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of the digits that collapses within a second or two, and what it said."""
    folder = tmp_path_factory.mktemp("collapsed") / "run"
    return folder, trained(folder, IMAGES)


def test_13_is_said_once_with_evidence_and_action_and_again_at_the_end(collapsed):
    _, console = collapsed
    lines = console.splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith("health: mode collapse at ")]
    done = next(number for number, line in enumerate(lines) if line.startswith("done: "))
    assert len(places) == 2
    assert places[0] < done < places[1]
    assert "of pairs are near-identical, over " in lines[places[0]]
    assert lines[places[0] + 1] == (
        "  start anew (--out) with a penalty on D's gradient: --set penalties.r1.weight=0.0049"
    )


def test_13_stands_in_every_record_from_then_on(collapsed):
    records = Metrics(collapsed[0] / "metrics.jsonl").read()
    words = [record.get("health") for record in records]
    assert words[0] is None
    assert words[-1] == "mode collapse"
    assert words == sorted(words, key=lambda word: word is not None)
    assert next(record for record in reversed(records) if "near_identical" in record)["near_identical"] > 0.99


def test_13_is_shown_of_the_run(collapsed, capsys):
    ShowCommand(str(collapsed[0])).run(())
    assert "health: mode collapse at " in capsys.readouterr().out


def test_13_is_in_the_report_and_on_its_page(collapsed, tmp_path):
    found = gansmith.evaluate(collapsed[0], scores=["fd"], num_samples=400, extractor="random")
    folder = found.save(tmp_path)
    health = load_report(folder / "report.json").health
    assert health is not None
    assert health.verdict == "mode collapse"
    assert health.overrides == ("penalties.r1.weight=0.0049",)
    page = (folder / "report.html").read_text()
    assert '<p class="banner"><b>Training</b> mode collapse at ' in page
    assert "--set penalties.r1.weight=0.0049" in page


def test_13_a_run_that_goes_on_knows_it_and_says_it_at_the_end_alone(collapsed, tmp_path):
    folder = shutil.copytree(collapsed[0], tmp_path / "run")
    console = trained(folder, MORE)
    assert console.count("health: mode collapse at ") == 1
    assert {record["health"] for record in Metrics(folder / "metrics.jsonl").read()[-3:]} == {"mode collapse"}
