"""Shared by all tests: a private cache, real data only where GANSMITH_DATA says it is, small images on disk."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # small networks; two threads that wait for each other are slower on a busy machine
    if spec := importlib.util.find_spec("torch_fidelity"):
        # torchmetrics imports it; whole, it needs torchvision, whose wheel in the registry fits no CPU build of torch.
        sys.modules["torch_fidelity"] = importlib.util.module_from_spec(spec)


def find_chromium() -> str | None:
    """The browser of tests marked `browser`: what CHROMIUM says, else the one on the path."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Each of two workers takes half of the list, and is to begin with half of the long ones: at the end one would wait.
    long = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("data")]
    of_long = set(long)
    short = [item for item in items if item not in of_long]
    items[:] = long[::2] + short[: len(short) // 2] + long[1::2] + short[len(short) // 2 :]
    no_data = pytest.mark.skip(reason="GANSMITH_DATA is not set: no real data sets to test on")
    no_browser = pytest.mark.skip(reason="there is no chromium (set CHROMIUM to its path) or no playwright")
    has_browser = find_chromium() and importlib.util.find_spec("playwright")
    no_gpu = pytest.mark.skip(reason="there is no GPU")
    for item in items:
        if item.get_closest_marker("data") and not os.environ.get("GANSMITH_DATA"):
            item.add_marker(no_data)
        if item.get_closest_marker("browser") and not has_browser:
            item.add_marker(no_browser)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)


@pytest.fixture(autouse=True, scope="session")
def private_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded data and trained classifiers go to a folder of this test session, for all of its workers, and what the
    hub's libraries keep to one of each; nothing is downloaded."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["GANSMITH_CACHE"] = str(folder)
    os.environ |= {"HF_HOME": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1"}
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, for tests marked `data`."""
    return Path(os.environ["GANSMITH_DATA"])


def write_images(folder: Path, count: int, size: tuple[int, int] = (16, 16), seed: int = 0, mode: str = "L") -> Path:
    """Write `count` different PNGs of (height, width) into a folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    shape = size if mode == "L" else (*size, len(mode))
    for index in range(count):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{index:03d}.png")
    return folder


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes, cats and dogs, of 12 grey 16x16 images each."""
    write_images(tmp_path / "pets" / "cats", 12, seed=1)
    write_images(tmp_path / "pets" / "dogs", 12, seed=2)
    return tmp_path / "pets"
