"""Turning a stranger's table into a fixed one. It runs in a container of its own, without a label to lose.

What is wrong with the form of a table rejects it, with a sentence for its author. What is wrong with its contents (ids
that are missing, twice or unknown, numbers that are not finite) is kept: the completeness criterion judges that.
"""

import math
import os
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

_MAX_ID = 200
_BATCH = 65_536


class Rejected(Exception):
    """The table cannot be used; the message is a sentence for its author."""


def decode(outputs: Path, target: Path, context: dict[str, Any]) -> int:
    """Write `target` (Parquet) from the pilot's table in `outputs`; return its number of rows.

    Args:
        context: `output` (name), `columns` ([{name, kind, …}]), `limits` ({bytes, rows}).

    Raises:
        Rejected: no table, two of them, one that is too large, or not of the schema.
    """
    path = _find(outputs, context["output"], context["limits"]["bytes"])
    names = [column["name"] for column in context["columns"]]
    schema = pa.schema([(column["name"], pa.string() if column["kind"] == "id" else pa.float64()) for column in context["columns"]])
    try:
        batches = _parquet(path, names, context["limits"]["rows"]) if path.suffix == ".parquet" else _csv(path, names)
        rows = 0
        with pq.ParquetWriter(target, schema) as writer:
            for batch in batches:
                rows += batch.num_rows
                if rows > context["limits"]["rows"]:
                    raise Rejected(f"{path.name} has more than {context['limits']['rows']} rows.")
                writer.write_table(pa.table([_column(batch, field) for field in schema], schema=schema))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise Rejected(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return rows


def _find(outputs: Path, name: str, limit: int) -> Path:
    found = [outputs / f"{name}{suffix}" for suffix in (".parquet", ".csv") if os.path.lexists(outputs / f"{name}{suffix}")]
    if len(found) != 1:
        raise Rejected(f"exactly one of {name}.parquet and {name}.csv is expected, and there are {len(found)}.")
    status = os.lstat(found[0])
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(f"{found[0].name} is not a plain file.")
    if not 0 < status.st_size <= limit:
        raise Rejected(f"{found[0].name} has {status.st_size} bytes; 1 to {limit} are expected.")
    return found[0]


def _check_names(present: list[str], wanted: list[str], where: str) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise Rejected(f"{where} has no column {', '.join(missing)}; it has {', '.join(present[:20]) or 'none'}.")
    twice = sorted({name for name in wanted if present.count(name) > 1})
    if twice:
        raise Rejected(f"{where} has the column {', '.join(twice)} twice.")


def _parquet(path: Path, names: list[str], limit: int) -> Any:
    """Only flat columns of plain types are read, and the file's own counts are believed as an upper bound only."""
    with pq.ParquetFile(path, memory_map=False, arrow_extensions_enabled=False) as file:
        _check_names(list(file.schema_arrow.names), names, path.name)
        if file.metadata.num_rows > limit:
            raise Rejected(f"{path.name} has more than {limit} rows.")
        for name in names:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or isinstance(kind, pa.ExtensionType):
                raise Rejected(f"{path.name}: the column {name} is of type {kind}; text or numbers are expected.")
        yield from file.iter_batches(_BATCH, columns=names, use_threads=False)


def _csv(path: Path, names: list[str]) -> Any:
    options = pa.csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    with path.open("rb") as file:
        header = file.readline(65_536).decode("utf-8", "replace").strip("\r\n")
    _check_names([cell.strip().strip('"') for cell in header.split(",")], names, path.name)
    with pa.csv.open_csv(path, pa.csv.ReadOptions(use_threads=False), convert_options=options) as reader:
        yield from reader


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    values = batch.column(field.name)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if field.type == pa.string():
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_integer(values.type)):
            raise Rejected(f"the column {field.name} is of type {values.type}; text is expected.")
        texts = values.cast(pa.string())
        if any(len(text) > _MAX_ID for text in texts.to_pylist() if text is not None):
            raise Rejected(f"an entry of {field.name} is longer than {_MAX_ID} characters.")
        return texts
    if pa.types.is_string(values.type):
        return pa.array([_number(text) for text in values.to_pylist()], pa.float64())
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        raise Rejected(f"the column {field.name} is of type {values.type}; numbers are expected.")
    return values.cast(pa.float64())


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
