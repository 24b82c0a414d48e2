"""Reading and writing the tables that go between harness and data."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from livinglab.measuring.slices import Table


def read(path: Path) -> Table:
    """A Parquet file's columns; text as numpy strings."""
    table = pq.read_table(path, use_threads=False, memory_map=False)
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return {name: np.asarray(column, dtype=str) if column.dtype == object else column for name, column in columns.items()}


def write(table: Table, path: Path) -> None:
    """Columns as a Parquet file."""
    pq.write_table(pa.table({name: pa.array(column) for name, column in table.items()}), path)
