"""Debian's chromium, driven by playwright; pages that remember what went wrong on them and whom they asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import find_chromium

ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Visit:
    """An open page.

    Attributes:
        page: playwright's.
        errors: of the page and on its console.
        foreign: requests for anything but `data:` and files.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def scrolls_sideways(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def is_fine(self) -> bool:
        assert self.errors == []
        assert self.foreign == []
        return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Callable[..., Visit]]:
    """`browser_page(path_or_url, width=1200, scheme="light")` opens a page and returns its `Visit`."""
    contexts = []

    def visit(address: Path | str, width: int = 1200, scheme: str = "light", **options: Any) -> Visit:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options))
        found = Visit(contexts[-1].new_page())
        found.page.on("pageerror", lambda error: found.errors.append(str(error)))
        found.page.on("console", lambda said: said.type == "error" and found.errors.append(said.text))
        found.page.on(
            "request", lambda asked: asked.url.startswith(("data:", "file:")) or found.foreign.append(asked.url)
        )
        found.page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        return found

    yield visit
    for context in contexts:
        context.close()
