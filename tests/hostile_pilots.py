"""Hostile pilots, and how a run of each deserves to end at every site. `docs/hostile.md` is made from this table alone.

`tests/integration/test_hostile_pilots.py` carries all of them through the whole lab. A pilot that tries a way out leaves predictions that
pass where it has found one, so that what has got out ends with PASS, as nothing here may.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SITES = {"docker": "Docker", "slurm": "Slurm", "kubernetes": "Kubernetes"}
CLOSED = 42
"""The exit code of a pilot that found each of its ways out closed."""


@dataclass(frozen=True)
class End:
    """How a run ends: failed by the pilot, with this code; or measured, and FAIL."""

    code: str
    says: str = ""
    """A piece of the failure's sentence."""
    failing: tuple[str, ...] = ()
    """Of a run that was measured: the criteria that are FAIL."""

    def __str__(self) -> str:
        return f"{self.code}: {', '.join(self.failing)}" if self.failing else self.code


@dataclass(frozen=True)
class Kind:
    """What a pilot tries, how a run of it deserves to end, and its limits, where others than usual."""

    tries: str
    end: End
    limits: dict[str, float] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    """Its command, where that is not the pilot of the group's file with the kind's name."""
    table: Callable[[], bytes] | None = None
    """A table that the pilot has not the means to make itself: predictions.parquet."""
    differs: dict[str, tuple[End, str]] = field(default_factory=dict)
    """Site → how it ends there, and why it can end in no other way."""

    def at(self, site: str) -> End:
        """How it deserves to end there."""
        return self.differs[site][0] if site in self.differs else self.end

    def command(self, file: str, name: str) -> tuple[str, ...]:
        """The pilot's command."""
        if self.table:
            return ("python3", "/app/tables.py", "predictions.parquet", base64.b64encode(self.table()).decode())
        return self.argv or ("python3", f"/app/{file}.py", name)


def exits(code: int, says: str = "") -> End:
    return End("exit-code", says or f"exited with code {code}; 0 was expected")


def unusable(says: str) -> End:
    return End("output-unusable", says)


def fails(*criteria: str) -> End:
    return End("FAIL", failing=criteria)


OUT_OF_MEMORY = End("out-of-memory", "more memory than its limit of 67,108,864 bytes")
OUT_OF_TIME = End("out-of-time", "longer than its time limit of 3 seconds")
TOO_MUCH_LOG = End("log-limit", "wrote more log than its limit of 16,384 bytes")
TOO_MUCH_OUTPUT = End("output-limit", "more output than its limit of 1,048,576 bytes or 8 files")
INCOMPLETE = fails("completeness", "discrimination")
CONSTANT = fails("discrimination")
SHORT: dict[str, float] = {"wall_seconds": 3}
SMALL: dict[str, float] = {"memory": 64 << 20}
LARGE: dict[str, float] = {"output_bytes": 16 << 20}
FEW: dict[str, float] = {"pids": 32}


def _parquet(columns: Callable[[Any], dict[str, Any]], **how: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.table(columns(pa)), sink, **how)
        return sink.getvalue()

    return make


def _ids(pa: Any) -> Any:
    return pa.array([f"reference-{i:04d}" for i in range(400)])


def _pickled_metadata() -> bytes:
    """What a reader that believes a file's own description would unpickle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    said = {b"pandas": b"\x80\x04cos\nsystem\n(S'touch /out/decode.json'\ntR."}
    pq.write_table(pa.table({"id": _ids(pa), "risk": [0.5] * 400}).replace_schema_metadata(said), sink)
    return sink.getvalue()


ENDINGS = {
    "exit_1": Kind("exits with an error", exits(1, "exited with code 1; 0 was expected. Its log ends: something went wrong here")),
    "exit_painting": Kind("exits with last words that paint a terminal", exits(1, "Its log ends: �[2J�[32mPASS��")),
    "exit_97": Kind("exits with the launcher's own code, as if isolation had not held", exits(97)),
    "exit_137": Kind("exits as one that was killed from outside", exits(137)),
    "crash": Kind("breaks its own memory", exits(139)),
    "no_such_pilot": Kind("breaks before it begins", exits(1, "KeyError")),
    "no_such_command": Kind("names a command that is not there", exits(99, "cannot execute /app/nowhere"), argv=("/app/nowhere",)),
    "good_but_exits": Kind("good predictions, then an error", exits(1)),
    "good_but_hangs": Kind("good predictions, then no end", OUT_OF_TIME, SHORT),
    "good_but_floods": Kind("good predictions, then a flood of log", TOO_MUCH_LOG),
    "good_but_greedy": Kind("good predictions, then more memory than it may have", OUT_OF_MEMORY, SMALL),
    "nothing": Kind("ends well, and has written nothing", End("output-missing", "no /out/predictions.parquet or predictions.csv (found: nothing)")),
    "kills_its_group": Kind("kills its own process group", End("output-missing", "(found: nothing)")),
    "kills_all": Kind("kills every process that it sees, then goes on", CONSTANT),
    "closes_everything": Kind("closes all that it was given, and goes on unseen", CONSTANT),
    "hang": Kind("never ends", OUT_OF_TIME, SHORT),
    "hears_nothing": Kind("ignores every signal, with children in sessions of their own", OUT_OF_TIME, SHORT),
    "stops_itself": Kind("is stopped, neither running nor over", OUT_OF_TIME, SHORT),
    "lingers": Kind("leaves a daemon that would write better predictions after its end", CONSTANT),
}
"""Ends that are not what they look like."""

LIMITS = {
    "memory": Kind("takes memory", OUT_OF_MEMORY, SMALL),
    "memory_in_scratch": Kind("takes memory by files in /dev/shm and /tmp", OUT_OF_MEMORY, SMALL),
    "memory_of_no_file": Kind("takes memory by files without a name", OUT_OF_MEMORY, SMALL),
    "memory_shared": Kind("takes shared memory", OUT_OF_MEMORY, SMALL),
    "small_files": Kind("makes empty files in /tmp without end", OUT_OF_MEMORY, SMALL),
    "forks": Kind("starts processes until it may not", exits(1, "Resource temporarily unavailable"), FEW),
    "forks_on": Kind("starts processes and does not stop trying", OUT_OF_TIME, SHORT | FEW),
    "threads": Kind("starts threads until it may not", exits(CLOSED), FEW),
    "descriptors": Kind("opens files until it may not", exits(CLOSED)),
    "too_much": Kind("writes output without end", TOO_MUCH_OUTPUT),
    "too_many": Kind("writes ten thousand files", TOO_MUCH_OUTPUT, differs={"kubernetes": (
        unusable("more files than the limit allows"), "a volume in memory counts no files: what is too many is seen when it is collected")}),
    "logs": Kind("writes log without end", TOO_MUCH_LOG),
    "logs_to_stderr": Kind("writes errors without end", TOO_MUCH_LOG),
    "endless_line": Kind("writes one line of zeros without end", TOO_MUCH_LOG),
    "imitates_launcher": Kind("floods its log with lines as the launcher's", TOO_MUCH_LOG),
}  # fmt: skip
"""Each limit is reached."""

OUTPUTS = {
    "symlink": Kind("a link to /etc/shadow as its predictions", unusable("'predictions.csv' is a symbolic link")),
    "link_to_hidden": Kind("a link to where the hidden data might be", unusable("'predictions.parquet' is a symbolic link")),
    "link_to_folder": Kind("a link to the root beside its predictions", unusable("'all' is a symbolic link")),
    "hard_links": Kind("one file under two names, larger than allowed together", unusable("over their size limit")),
    "sparse": Kind("a file of ten gigabytes that takes no room", unusable("over their size limit")),
    "fifo": Kind("a pipe, to keep its reader waiting", unusable("not a plain file"), differs={"slurm": (
        exits(1, "Operation not permitted"), "the lab's own filter of system calls knows none that makes a pipe with a name")}),
    "unix_socket": Kind("a socket", unusable("not a plain file")),
    "folder": Kind("a folder with the table's name", End("output-missing", "(found: predictions.csv/x)")),
    "deep": Kind("folders in folders", unusable("deeper than 4 folders")),
    "turned_name": Kind("a name that reads backwards", unusable("is not one of letters, digits")),
    "name_of_two_lines": Kind("a name with a line's end in it", unusable("is not one of letters, digits")),
    "long_name": Kind("a name of 255 letters", unusable("is not one of letters, digits")),
    "undecodable_name": Kind("a name that is no text", unusable("is not one of letters, digits")),
    "swaps": Kind("a link and a folder that change places all the time", unusable("is a symbolic link")),
    "closed_file": Kind("predictions that nobody may read, and that are setuid", CONSTANT),
    "closed_folder": Kind("outputs that nobody may enter", CONSTANT),
    "odd_times": Kind("files from the far future", CONSTANT),
    "forges_results": Kind("files as the decoder and the harness write them, with a PASS in them", CONSTANT, {"output_files": 16}),
    "snoop": Kind("a launcher's line in its log, with whatever may hold the nonce", CONSTANT),
}  # fmt: skip
"""What it leaves is not taken, or not taken for more than it is."""

TABLES = {
    "constant": Kind("the same risk for everybody", CONSTANT),
    "nan": Kind("good predictions, but one is no number", INCOMPLETE),
    "infinite": Kind("… but one is infinite", INCOMPLETE),
    "huge": Kind("… but one is 1e308", INCOMPLETE),
    "out_of_range": Kind("… but one is above 1", INCOMPLETE),
    "hexadecimal": Kind("… but one is written in hexadecimal", INCOMPLETE),
    "underscored": Kind("… but one is written as `0.5_0`", INCOMPLETE),
    "other_digits": Kind("… but one is written in another script's digits", INCOMPLETE),
    "formula": Kind("… but one is a spreadsheet's formula", INCOMPLETE),
    "half": Kind("… for the easier half", INCOMPLETE),
    "good_and_bad": Kind("… and others for the same persons", INCOMPLETE),
    "duplicates": Kind("one person twice", INCOMPLETE),
    "wrong_ids": Kind("persons who were not asked for", INCOMPLETE),
    "spaced_ids": Kind("ids with spaces around them", INCOMPLETE),
    "other_letters": Kind("ids that look the same, of other letters", INCOMPLETE),
    "more": Kind("thousands of rows that nobody asked for", CONSTANT, LARGE),
    "only_a_header": Kind("no rows", INCOMPLETE),
    "no_column": Kind("no column of predictions", unusable("has no column risk; it has id, probability")),
    "same_column_twice": Kind("two columns of predictions", unusable("has the column risk twice")),
    "endless_name": Kind("a column's name without end", unusable("has no column risk; it has id, rrr")),
    "painting_name": Kind("a column's name that paints a terminal", unusable("has no column risk; it has id, �[2J�[32mPASS�")),
    "zeros": Kind("a CSV of zero bytes", unusable("predictions.csv cannot be read")),
    "zeros_in_ids": Kind("ids that end in a zero byte", unusable("an entry of id has a zero character")),
    "two_marks": Kind("two byte order marks", unusable("has no column id")),
    "other_encoding": Kind("a CSV in UTF-16", unusable("has no column id")),
    "no_utf8": Kind("a CSV that is no text", unusable("predictions.csv cannot be read")),
    "long_field": Kind("a field of ten million characters", unusable("predictions.csv cannot be read"), LARGE),
    "open_quote": Kind("a quote that never ends", unusable("predictions.csv cannot be read")),
    "ragged": Kind("rows of two, four and six cells", unusable("predictions.csv cannot be read")),
    "packed_csv": Kind("a CSV that is packed, of 256 MB of zeros", unusable("has no column id")),
    "two_tables": Kind("two tables, of which one is good", unusable("there are 2")),
    "not_parquet": Kind("what is no Parquet", unusable("predictions.parquet cannot be read")),
    "endless_footer": Kind("a Parquet file whose description has 2 GB", unusable("predictions.parquet cannot be read")),
    "pickled": Kind("a pickle that executes a command", unusable("predictions.parquet cannot be read")),
    "zip_bomb": Kind("a zip bomb", unusable("predictions.parquet cannot be read")),
    "parquet_bomb": Kind("Parquet: a kilobyte that becomes gigabytes", unusable("reading the table took more than"), table=_parquet(
        lambda pa: {"id": pa.array(["a" * (8 << 20)] * 400), "risk": [0.5] * 400}, compression="zstd", write_statistics=False, store_schema=False)),
    "parquet_nested": Kind("Parquet: lists in the place of numbers", unusable("the column risk is of type list"), table=_parquet(
        lambda pa: {"id": _ids(pa), "risk": [[0.5]] * 400})),
    "parquet_blob": Kind("Parquet: bytes in the place of numbers", unusable("the column risk is of type binary"), table=_parquet(
        lambda pa: {"id": _ids(pa), "risk": [b"0.5"] * 400})),
    "parquet_metadata": Kind("Parquet: a pickle in its metadata", CONSTANT, table=_pickled_metadata),
}  # fmt: skip
"""What stands in a table is read as what it is, or not at all."""

_CLOSED = exits(CLOSED)

WAYS_OUT = {
    "network": Kind("hosts near and far, names, raw sockets", _CLOSED),
    "metadata": Kind("the metadata services of clouds", _CLOSED),
    "engine": Kind("the sockets and commands of container engines", _CLOSED),
    "cluster": Kind("a cluster's API, kubelet and tokens", _CLOSED),
    "scheduler": Kind("a scheduler's commands, keys and sockets", _CLOSED),
    "secrets": Kind("the nonce, the lab's environment and keys", _CLOSED),
    "hidden_data": Kind("the hidden data, wherever they might be", _CLOSED),
    "system": Kind("the system's files, its own image and inputs, written to", _CLOSED),
    "site_paths": Kind("where a site puts what it keeps of a job", _CLOSED),
    "kernel_settings": Kind("settings of the kernel", _CLOSED),
    "kernel_memory": Kind("the kernel's memory and modules", _CLOSED),
    "system_calls": Kind("bpf, keyctl, userfaultfd, perf, handles, reboot and others", _CLOSED),
    "mounts": Kind("mounts, old and new, and another root", _CLOSED),
    "namespaces": Kind("namespaces, its own and others'", _CLOSED),
    "control_groups": Kind("its own control groups", _CLOSED),
    "devices": Kind("devices, made and opened", _CLOSED),
    "identity": Kind("another user, capabilities, setuid programs, higher limits", _CLOSED),
    "others": Kind("processes of others: traced, written to, entered", _CLOSED),
}
"""Ways out, each tried by several means."""

GROUPS: dict[str, tuple[str, dict[str, Kind]]] = {
    "Ends that are not what they look like": ("bad", ENDINGS),
    "Limits": ("bad", LIMITS),
    "Outputs": ("bad", OUTPUTS),
    "Tables": ("tables", TABLES),
    "Ways out": ("ways_out", WAYS_OUT),
}
"""Heading → the file of the pilots, and the kinds."""

KINDS = {name: kind for _file, kinds in GROUPS.values() for name, kind in kinds.items()}


def commands() -> dict[str, tuple[str, ...]]:
    """Each kind's command: made when it is asked for, since the tables of some take gigabytes to make."""
    return {name: kind.command(file, name) for file, kinds in GROUPS.values() for name, kind in kinds.items()}
