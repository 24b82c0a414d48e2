"""Reading and writing the tables that go between harness and data, and refusing data that are not what they should be."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from livinglab.measuring.errors import Unfit
from livinglab.measuring.slices import Table

_KINDS = {"number": "fiu", "whole": "iu", "flag": "b", "text": "U", "id": "U"}
"""Kind → letters of the numpy types that hold it."""
_NAMED = 3
"""Values that a message names at most."""


def read(path: Path) -> Table:
    """A Parquet file's columns; text as numpy strings."""
    table = pq.read_table(path, use_threads=False, memory_map=False)
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return {name: np.asarray(column, dtype=str) if column.dtype == object else column for name, column in columns.items()}


def write(table: Table, path: Path) -> None:
    """Columns as a Parquet file."""
    pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), path)


@dataclass(frozen=True)
class Column:
    """What a column may hold.

    kind: number, whole, flag, text, or id (text, each once). low, high: of every value, inclusive; middle: where the median
    must lie, since a change of unit moves it. missing: may a number be absent?
    """

    kind: str
    low: float = -np.inf
    high: float = np.inf
    middle: tuple[float, float] = (-np.inf, np.inf)
    categories: tuple[str, ...] = ()
    missing: bool = False


@dataclass(frozen=True)
class Schema:
    """Files of a data set, by their paths, each with its columns: those and no others."""

    files: dict[str, dict[str, Column]]

    @classmethod
    def load(cls, path: Path) -> "Schema":
        """From JSON: `columns` (name → as `Column`) and `files` (path → names of its columns)."""
        document: dict[str, Any] = json.loads(path.read_text())
        columns = {name: Column(**column) for name, column in document["columns"].items()}
        return cls({file: {name: columns[name] for name in names} for file, names in document["files"].items()})

    def check(self, root: Path) -> None:
        """Read all files under `root`.

        Raises:
            Unfit: a file is missing or unreadable, or holds anything that is not expected.
        """
        for file in self.files:
            self.read(root, file)

    def read(self, root: Path, file: str) -> Table:
        """One file under `root`; `Unfit` as for `check`."""
        try:
            table = read(root / file)
        except FileNotFoundError as error:
            raise Unfit(f"{file} is missing; expected a Parquet file with the columns {', '.join(self.files[file])}.") from error
        except (pa.ArrowException, OSError) as error:
            raise Unfit(f"{file} cannot be read as Parquet: {error}.") from error
        need(table, self.files[file], file)
        unknown = [name for name in table if name not in self.files[file]]
        if unknown:
            raise Unfit(f"{file} has columns that nobody expects: {', '.join(unknown)}; expected are {', '.join(self.files[file])} and no others.")
        if not len(next(iter(table.values()))):
            raise Unfit(f"{file} has no rows.")
        for name, column in self.files[file].items():
            wrong = _fault(table[name], column)
            if wrong:
                raise Unfit(f"{file}, column {name}: {wrong}")
        return table


def need(table: Any, names: Any, file: str) -> None:
    """Refuse a table (anything that has columns by name) without all of these columns, with `Unfit`."""
    missing = [name for name in names if name not in table]
    if missing:
        raise Unfit(f"{file} has no column {', '.join(missing)}; expected are {', '.join(names)}, and it has {', '.join(map(str, table))}.")


def numbers(values: np.ndarray[Any, Any], name: str, file: str) -> np.ndarray[Any, Any]:
    """Text as numbers; `Unfit` names the first that is none."""
    try:
        return values.astype(np.float64)
    except ValueError as error:
        raise Unfit(f"{file}, column {name}: {error}; expected numbers.") from error


def _fault(values: np.ndarray[Any, Any], column: Column) -> str | None:
    """What is wrong with the values of a column, and what was expected."""
    if values.dtype.kind not in _KINDS[column.kind]:
        return f"it holds {values.dtype}; expected {column.kind}."
    if column.kind in {"number", "whole"}:
        return _fault_of_numbers(values.astype(np.float64), column)
    distinct = np.unique(values)
    if column.kind == "id" and len(distinct) < len(values):
        return f"{len(values) - len(distinct)} ids come again; expected each once."
    unknown = sorted(set(distinct.tolist()) - set(column.categories)) if column.categories else []
    if unknown:
        return f"unknown categories {_some(unknown)}; expected {', '.join(map(repr, column.categories))}."
    return None


def _fault_of_numbers(values: np.ndarray[Any, Any], column: Column) -> str | None:
    absent = np.isnan(values)
    if absent.any() and not column.missing:
        return f"{int(absent.sum())} values are missing; expected none to be."
    if absent.all():
        return "all values are missing."
    known = values[~absent]
    outside = known[(known < column.low) | (known > column.high)]
    if len(outside):
        found = f"{len(outside)} of {len(known)} values are out of range ({_some(outside)})"
        return f"{found}; expected {column.low:g} to {column.high:g}: is the unit right?"
    low, high = column.middle
    if not low <= np.median(known) <= high:
        return f"the median is {np.median(known):g}; expected it within {low:g} to {high:g}: is the unit right?"
    return None


def _some(values: Any) -> str:
    """The first few, as a message names them."""
    shown = [repr(value) if isinstance(value, str) else f"{value:g}" for value in values[:_NAMED]]
    return ", ".join(shown) + (", …" if len(values) > _NAMED else "")
