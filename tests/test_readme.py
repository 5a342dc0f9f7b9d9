"""What the README says is so: commands parse, targets and files exist, its Python is the example."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gansmith.cli import parse
from gansmith.cli.train import TrainCommand
from gansmith.recipes import RECIPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("gansmith ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_command_has_no_mistake(line: str) -> None:
    command, unknown = parse(shlex.split(line, comments=True)[1:])
    assert unknown == []
    if isinstance(command, TrainCommand):
        command._checked([])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", "".join(page.read_text() for page in PAGES), re.MULTILINE))
    assert {"demo", "test", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert all((page.parent / link).exists() for link in links if "://" not in link), links


def test_python_is_the_example() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code in (ROOT / "examples" / "five_lines.py").read_text()


def test_every_recipe_is_listed() -> None:
    assert all(f"| `{name}` |" in README for name in RECIPES)


def test_shown_mistakes_are_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from gansmith.cli import main

    (shown,) = re.findall(r"```\n\$ gansmith (.*?)```", README, re.DOTALL)
    line, _, expected = shown.partition("\n")
    with pytest.raises(SystemExit):
        main(shlex.split(line))
    assert capsys.readouterr().err == expected
