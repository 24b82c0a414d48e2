"""A harness is imported where it lies, and nothing of it stays behind."""

import sys
from pathlib import Path

import pytest

from livinglab.measuring.loading import load


def package(root: Path, name: str) -> Path:
    """A harness of two modules, one of which needs the other."""
    folder = root / name / "harness"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "words.py").write_text(f"WORD = {name!r}\n")
    (folder / "speech.py").write_text("from harness.words import WORD\n\n\ndef said():\n    return WORD\n")
    return folder.parent


def state() -> tuple[list[str], dict[str, object]]:
    return list(sys.path), {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "harness"}


def test_each_call_finds_its_own_folder_s_package(tmp_path: Path) -> None:
    one, two = (load(package(tmp_path, name), "speech", "words") for name in ("one", "two"))
    assert (one.speech.said(), one.words.WORD) == ("one", "one")
    assert (two.speech.said(), two.words.WORD) == ("two", "two")


def test_nothing_stays_behind_and_what_was_there_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = package(tmp_path, "mine")
    before = state()
    load(mine, "speech")
    assert state() == before
    monkeypatch.syspath_prepend(mine)
    import harness.words  # type: ignore[import-not-found]

    try:
        other = load(package(tmp_path, "other"), "speech")
        assert other.speech.said() == "other"
        assert sys.modules["harness.words"] is harness.words
        assert "harness.speech" not in sys.modules
    finally:
        for name in state()[1]:
            del sys.modules[name]


@pytest.mark.parametrize(("part", "wrong"), [("silence", None), ("broken", "import harness.words, json\njson.loads('{')\n")])
def test_a_part_that_is_not_there_or_fails_leaves_nothing_either(tmp_path: Path, part: str, wrong: str | None) -> None:
    folder = package(tmp_path, "faulty")
    if wrong:
        (folder / "harness" / f"{part}.py").write_text(wrong)
    before = state()
    with pytest.raises(ValueError if wrong else ModuleNotFoundError):
        load(folder, "words", part)
    assert state() == before
