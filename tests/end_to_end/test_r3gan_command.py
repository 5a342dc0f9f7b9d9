"""R3GAN by the command line, as a person types it: trained, gone on with, and sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gansmith.training.log import Metrics
from tests.end_to_end.processes import gansmith


def test_r3gan_small_trains_on_digits_goes_on_and_is_sampled(tmp_path: Path) -> None:
    for images in ("500", "600"):
        command = ("train", "digits", "--recipe", "r3gan-small", "--images", images, "--out", "run")
        result = gansmith(*command, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    record = Metrics(tmp_path / "run" / "metrics.jsonl").read()[-1]
    assert record["images"] == 608
    assert {"loss_d", "loss_g", "penalty_r1", "penalty_r2"} <= record.keys()
    assert gansmith("sample", "run", "--num", "4", "--out", "four.png", cwd=tmp_path).returncode == 0
    with Image.open(tmp_path / "four.png") as image:
        assert np.asarray(image).std() > 1
