"""What import-linter cannot see, since these folders are not packages: what pilots and sandboxes import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"livinglab", "flows", "sandbox_api", "sandboxes", "pilots", "harness", "tests", "infra"}
SANDBOXES_MAY = "livinglab.measuring"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def files(folder: str) -> list[Path]:
    return sorted(p.relative_to(ROOT) for p in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("pilots"), ids=str)
def test_a_pilot_imports_nothing_of_ours(path: Path) -> None:
    assert [name for name in imports(ROOT / path) if name.split(".")[0] in OURS] == []


RUN_ELSEWHERE = [path for path in files("sandboxes") if {"harness", "data"} & set(path.parts)]
"""Beside them a domain has tests and simulations, which run in a checkout."""


@pytest.mark.parametrize("path", RUN_ELSEWHERE, ids=str)
def test_a_sandbox_imports_measuring_at_most(path: Path) -> None:
    ours = [name for name in imports(ROOT / path) if name.split(".")[0] in OURS - {"harness"}]
    assert [name for name in ours if name != SANDBOXES_MAY and not name.startswith(f"{SANDBOXES_MAY}.")] == []


def test_there_is_something_to_look_at() -> None:
    assert files("pilots")
    assert RUN_ELSEWHERE
