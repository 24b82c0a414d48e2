"""Turning a stranger's table into a fixed one. It runs in a container of its own, without a label to lose.

What is wrong with the form of a table rejects it, with a sentence for its author. What is wrong with its contents (ids
that are missing, twice or unknown, numbers that are not finite) is kept: the completeness criterion judges that.
"""

import json
import math
import os
import re
import resource
import stat
import sys
import traceback
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from livinglab.measuring.rejection import Rejected

_MAX_ID = 200
_LENGTH = b"livinglab.length"
_BATCH = 65_536
_HEADER = 65_536
_DECIMAL = re.compile(r"[ \t]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|Inf|infinity|Infinity)[ \t]*")

MEMORY = 1 << 30
"""Bytes that reading a table may take beyond what the process has: a small file can ask for any amount when it is unpacked."""
CPU_SECONDS = 120
_DATA = 5
"""Where proc(5)'s statm tells of data and stack: what RLIMIT_DATA counts, which the whole address space of a large parent exceeds by far."""
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def run(context: dict[str, Any], root: Path) -> None:
    """A harness's verb: outputs → out/table.parquet, and out/decode.json with what became of them."""
    table = root / "out" / "table.parquet"
    try:
        report = {"status": "ok", "reason": "", "rows": decode_apart(root / "outputs", table, context)}
    except Rejected as error:
        table.unlink(missing_ok=True)
        report = {"status": "rejected", "reason": str(error), "rows": 0}
    (root / "out" / "decode.json").write_text(json.dumps(report))


def decode(outputs: Path, target: Path, context: dict[str, Any]) -> int:
    """Write `target` (Parquet) from the pilot's table in `outputs`; return its number of rows.

    Args:
        context: `output` (name), `columns` ([{name, kind, …}]), `limits` ({bytes, rows}).

    Raises:
        Rejected: no table, two of them, one that is too large, or not of the schema.
    """
    limits = context["limits"]
    names = [column["name"] for column in context["columns"]]
    schema = pa.schema([_field(column) for column in context["columns"]])
    name, file = _open(outputs, context["output"], limits["bytes"])
    with file:
        try:
            batches = _parquet(file, name, names, limits["rows"]) if name.endswith(".parquet") else _csv(file, name, names)
            rows = 0
            with pq.ParquetWriter(target, schema) as writer:
                for batch in batches:
                    rows += batch.num_rows
                    if rows > limits["rows"]:
                        raise Rejected(f"{name} has more than {limits['rows']} rows.")
                    writer.write_table(pa.table([_column(batch, field) for field in schema], schema=schema))
        except pa.ArrowMemoryError:
            raise  # told by whoever set the limit
        except (pa.ArrowException, ValueError, OSError) as error:
            raise Rejected(f"{name} cannot be read: {' '.join(str(error).split())[:200]}") from error
    return rows


def _field(column: dict[str, Any]) -> pa.Field:
    """The column as it will be; a text's field carries its greatest length."""
    if column["kind"] == "text":
        return pa.field(column["name"], pa.string(), metadata={_LENGTH: str(column["length"])})
    return pa.field(column["name"], pa.string() if column["kind"] == "id" else pa.float64())


def decode_apart(outputs: Path, target: Path, context: dict[str, Any], *, memory: int | None = None, cpu_seconds: int = CPU_SECONDS) -> int:
    """`decode` in a child process with limits of its own, so that a table which bursts its reader is the table's fault.

    Args:
        memory: bytes; by default `MEMORY`, or half of what the container has, so that the container itself never runs out.

    Raises:
        Rejected: as `decode`; and where reading took more than `memory` bytes or `cpu_seconds`, or killed the reader.
        RuntimeError: the reader failed in a way that no table should be blamed for.
    """
    memory = min(MEMORY, _container_memory() // 2) if memory is None else memory
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _child(sending, outputs, target, context, memory, cpu_seconds)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        said = pipe.read(1 << 16)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        answer: dict[str, Any] = json.loads(said)
        if "rejected" in answer:
            raise Rejected(answer["rejected"])
        return int(answer["rows"])
    if os.WIFSIGNALED(status):
        raise Rejected(f"reading the table took more than {memory >> 20} MiB or {cpu_seconds} s of a processor, or broke its reader.")
    raise RuntimeError("the decoder failed; its log says why.")


def _container_memory() -> int:
    for path in _CGROUP:
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):  # not this kind of control group, or no limit in it
            continue
    return sys.maxsize


def _child(sending: int, outputs: Path, target: Path, context: dict[str, Any], memory: int, cpu_seconds: int) -> None:
    """Answer through the pipe and end, without returning into the parent's code."""
    code = 1
    try:
        pa.allocate_buffer(1)  # Arrow writes by an allocator of its own, which reserves a gibibyte at once: that is no part of the bound
        pa.set_memory_pool(pa.system_memory_pool())  # and reads by the system's
        used = int(Path("/proc/self/statm").read_text().split()[_DATA]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            answer: dict[str, Any] = {"rows": decode(outputs, target, context)}
        except Rejected as error:
            answer = {"rejected": str(error)}
        except MemoryError:
            answer = {"rejected": f"reading the table took more than {memory >> 20} MiB."}
        os.write(sending, json.dumps(answer).encode())
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may pass: above stands the parent's stack
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _open(outputs: Path, name: str, limit: int) -> tuple[str, IO[bytes]]:
    """The one table that is there, as an open plain file: looked at through its descriptor, so it cannot become another one."""
    found = [f"{name}{suffix}" for suffix in (".parquet", ".csv") if os.path.lexists(outputs / f"{name}{suffix}")]
    if len(found) != 1:
        raise Rejected(f"exactly one of {name}.parquet and {name}.csv is expected, and there are {len(found)}.")
    try:
        descriptor = os.open(outputs / found[0], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Rejected(f"{found[0]} is not a plain file that can be read ({error.strerror}).") from error
    status = os.fstat(descriptor)
    plain, fits = stat.S_ISREG(status.st_mode), 0 < status.st_size <= limit
    if not (plain and fits):
        os.close(descriptor)
        raise Rejected(f"{found[0]} has {status.st_size} bytes; 1 to {limit} are expected." if plain else f"{found[0]} is not a plain file.")
    return found[0], os.fdopen(descriptor, "rb")


def _check_names(present: list[str], wanted: list[str], where: str) -> None:
    missing = [name for name in wanted if name not in present]
    if missing:
        raise Rejected(f"{where} has no column {', '.join(missing)}; it has {', '.join(present[:20]) or 'none'}.")
    twice = sorted({name for name in wanted if present.count(name) > 1})
    if twice:
        raise Rejected(f"{where} has the column {', '.join(twice)} twice.")


def _parquet(file: IO[bytes], name: str, names: list[str], limit: int) -> Any:
    """Only flat columns of plain types are read, and the file's own counts are believed as an upper bound only."""
    with pq.ParquetFile(file, memory_map=False, arrow_extensions_enabled=False) as table:
        _check_names(list(table.schema_arrow.names), names, name)
        if table.metadata.num_rows > limit:
            raise Rejected(f"{name} has more than {limit} rows.")
        for column in names:
            kind = table.schema_arrow.field(column).type
            if pa.types.is_nested(kind) or isinstance(kind, pa.ExtensionType):
                raise Rejected(f"{name}: the column {column} is of type {kind}; text or numbers are expected.")
        yield from table.iter_batches(_BATCH, columns=names, use_threads=False)


def _csv(file: IO[bytes], name: str, names: list[str]) -> Any:
    options = pa.csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    header = file.readline(_HEADER).decode("utf-8-sig", "replace").strip("\r\n")
    _check_names([cell.strip().strip('"') for cell in header.split(",")], names, name)
    file.seek(0)
    with pa.csv.open_csv(file, pa.csv.ReadOptions(use_threads=False), convert_options=options) as reader:
        yield from reader


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    values = batch.column(field.name)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if field.type == pa.string():
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_integer(values.type)):
            raise Rejected(f"the column {field.name} is of type {values.type}; text is expected.")
        return _text(values.cast(pa.string()), field)
    if pa.types.is_string(values.type):
        return pa.array([_number(text) for text in values.to_pylist()], pa.float64())
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        raise Rejected(f"the column {field.name} is of type {values.type}; numbers are expected.")
    return values.cast(pa.float64())


def _text(texts: pa.Array, field: pa.Field) -> pa.Array:
    """Bounded text. Beyond ids, which are only compared, it is printable ASCII, so that whoever shows it need not be careful; null is empty.

    An id has no zero characters: to numpy a text ends before those at its end, and another id would be taken for the right one.
    """
    free = _LENGTH in (field.metadata or {})
    longest = int(field.metadata[_LENGTH]) if free else _MAX_ID
    values = texts.to_pylist()  # refuses what is no UTF-8
    if any(len(text) > longest for text in values if text is not None):
        raise Rejected(f"an entry of {field.name} is longer than {longest} characters.")
    if not free:
        if any("\0" in text for text in values if text is not None):
            raise Rejected(f"an entry of {field.name} has a zero character.")
        return texts
    if not all(text.isascii() and text.isprintable() for text in values if text is not None):
        raise Rejected(f"an entry of {field.name} has characters other than printable ASCII.")
    return pa.array([text or "" for text in values], pa.string())


def _number(text: str | None) -> float:
    """As everybody reads it: Python alone takes `0.5_0` and other scripts' digits for numbers."""
    return float(text) if text and _DECIMAL.fullmatch(text) else math.nan
