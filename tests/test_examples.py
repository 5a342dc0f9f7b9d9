"""Every example runs, as its own process, from an empty folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.processes import environment, gansmith

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {
    "five_lines.py": [],
    "python_data.py": ["--images", "640"],
    "own_recipe.py": ["--images", "640"],
    "odd_photos.py": ["photos"],
    "memoriser.py": ["copies", "--data", "digits", "--count", "50"],
    "small_data.py": ["few", "--data", "digits", "--count", "40"],
    "optuna_search.py": ["--recipe", "mlp", "--trials", "2", "--images", "256", "--samples", "300", "--stages", "2"],
}
MADE = {
    "five_lines.py": ["digits.png"],
    "python_data.py": ["rings.png"],
    "own_recipe.py": ["hinge.png", "relativistic.png"],
    "odd_photos.py": [
        "photos/broken.jpg",
        "photos/print.jpg",
        "photos/scan.png",
        "photos/icon.png",
        "photos/IMG_0001.jpg",
        "photos/smile 😀.jpg",
    ],
    "memoriser.py": ["copies/000000.png", "copies/000049.png"],
    "small_data.py": ["few/train/7/000003.png", "few/test/7/000003.png"],
    "optuna_search.py": ["search/trials.db", "search/trial-001/reals.png"],
}


def run(name: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SHORT, "demo.py", "formats.py"}


def test_examples_are_short() -> None:
    assert all(len(path.read_text().splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SHORT)
def test_example_makes_its_pictures(name: str, tmp_path: Path) -> None:
    result = run(name, SHORT[name], tmp_path)
    assert result.returncode == 0, result.stderr
    assert all((tmp_path / picture).stat().st_size > 0 for picture in MADE[name])


def test_formats_of_the_same_pixels_have_one_fingerprint_and_one_first_batch(tmp_path: Path) -> None:
    result = run("formats.py", ["made"], tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[:4]] == ["made/idx", "made/digits.npz", "made/cifar", "made/hub"]
    assert len({(fingerprint, checksum) for _, _, fingerprint, _, _, checksum in lines[:4]}) == 1
    assert [line[:2] for line in lines[4:]] == [["gansmith", "train"]] * 4


@pytest.mark.slow
def test_demo_below_its_bar_exits_1_and_says_why(tmp_path: Path) -> None:
    result = run("demo.py", ["--images", "320"], tmp_path)
    assert result.returncode == 1
    assert "below the bar" in result.stderr
    assert "is sure of" in result.stdout


@pytest.mark.faults
def test_18_odd_photos_are_described_and_train(tmp_path: Path) -> None:
    assert run("odd_photos.py", ["photos"], tmp_path).returncode == 0
    looked = gansmith("data", "photos", cwd=tmp_path)
    assert looked.returncode == 0, looked.stderr
    for line in (
        "photos: 46 images (46 train), 45 usable",
        "broken.jpg: image file is truncated",
        "print.jpg: CMYK, converted to RGB",
        "scan.png: 16-bit, scaled to 8; grey, made RGB",
        "icon.png: transparent, laid on white",
        "IMG_0001.jpg: turned by its EXIF orientation",
        "training would use 64x64",
        "contact sheet: contact.png",
    ):
        assert line in looked.stdout
    assert (tmp_path / "contact.png").stat().st_size > 0
    trained = gansmith("train", "photos", "--images", "64", "--size", "16", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "skipped broken.jpg" in trained.stdout
