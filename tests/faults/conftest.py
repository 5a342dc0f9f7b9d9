"""Fixtures of the fault tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.command import gansmith
from tests.faults.runs import RUN_IMAGES, TINY


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished small run in `run`, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    result = gansmith(f"{TINY} --images {RUN_IMAGES}", folder)
    assert result.code == 0, result.errors
    return folder


@pytest.fixture
def small_run(finished_run: Path, tmp_path: Path) -> Path:
    """A folder with a copy of it."""
    shutil.copytree(finished_run / "run", tmp_path / "run")
    return tmp_path
