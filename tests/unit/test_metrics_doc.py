"""docs/metrics.md explains what can be measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from gansmith.report import DEFAULT_SCORES, EXTRACTOR_NAMES, INCEPTION_SCORES, REQUESTED_SCORES

TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("name", [*DEFAULT_SCORES, *REQUESTED_SCORES, *INCEPTION_SCORES, *EXTRACTOR_NAMES])
def test_every_score_and_extractor_is_explained(name: str) -> None:
    assert f"`{name}`" in TEXT
