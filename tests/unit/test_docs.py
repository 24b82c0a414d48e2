"""Docs are part of the product: links lead somewhere, references are current, decisions have all their parts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_references_are_generated_from_the_models_as_they_are() -> None:
    answer = subprocess.run([sys.executable, ROOT / "infra" / "reference.py", "--check"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_has_context_decision_consequences_and_alternatives(page: Path) -> None:
    text = page.read_text()
    assert all(f"## {part}" in text for part in ("Context", "Decision", "Consequences", "Alternatives"))
    assert len(text.splitlines()) < 80, "one page"


def test_commands_named_in_the_guides_exist() -> None:
    from livinglab.cli import COMMANDS

    named = {name for page in PAGES for name in re.findall(r"livinglab ([a-z]+)", re.sub(r"\*\*livinglab\*\*", "", page.read_text()))}
    prose = {"is", "adds", "the"}
    assert named - prose <= set(COMMANDS), named - set(COMMANDS)
