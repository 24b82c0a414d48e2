"""A stranger's table: read if it can be, refused with a sentence for its author if not, and never more than that."""

import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livinglab.measuring.decode import decode, decode_apart
from livinglab.measuring.rejection import Rejected

CONTEXT: dict[str, Any] = {
    "output": "predictions",
    "columns": [{"name": "id", "kind": "id"}, {"name": "risk", "kind": "number"}],
    "limits": {"bytes": 4 << 20, "rows": 1000},
}
LARGE = {**CONTEXT, "limits": {"bytes": 64 << 20, "rows": 5_000_000}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def table(out: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), out / "predictions.parquet")


def decoded(out: Path, context: dict[str, Any] = CONTEXT) -> list[tuple[str | None, float | None]]:
    target = out.parent / "table.parquet"
    rows = decode(out, target, context)
    found = pq.read_table(target)
    assert found.schema == pa.schema([("id", pa.string()), ("risk", pa.float64())])
    assert found.num_rows == rows
    return list(zip(found["id"].to_pylist(), found["risk"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("ids", "risks"),
    [
        (["a", "b"], [0.25, 0.5]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array([0.25, 0.5], pa.float32())),
        (pa.array(["a", "b"], pa.large_string()), pa.array(["0.25", "0.5"])),
    ],
)
def test_flat_columns_of_plain_types_are_read(out: Path, ids: Any, risks: Any) -> None:
    table(out, id=ids, risk=risks, more=[1, 2])
    assert decoded(out) == [("a", 0.25), ("b", 0.5)]


def test_numbers_may_be_ids(out: Path) -> None:
    table(out, id=[7, 8], risk=[0, 1])
    assert decoded(out) == [("7", 0.0), ("8", 1.0)]


def test_csv_is_read_with_its_columns_in_any_order(out: Path) -> None:
    (out / "predictions.csv").write_text('\ufeffrisk,note,"id"\n0.25,x,a\n,y,b\nabout half,z,c\n1e999,z,d\n', encoding="utf-8")
    rows = decoded(out)
    assert [name for name, _ in rows] == ["a", "b", "c", "d"]
    assert rows[0][1] == 0.25
    assert rows[3][1] == math.inf
    assert all(value is not None and math.isnan(value) for _, value in rows[1:3])


@pytest.mark.parametrize("text", ["0.5_0", "1_0", "\u0660.\u0665", "0x1p-1", "0,5", "=1+1", "1e", "½", "--1", "1 2"])
def test_what_is_a_number_to_python_alone_is_none(out: Path, text: str) -> None:
    table(out, id=["a", "b"], risk=[text, " -2.5e-1 "])
    (_, first), (_, second) = decoded(out)
    assert first is not None
    assert math.isnan(first)
    assert second == -0.25


def test_bad_contents_are_kept_for_the_completeness_criterion(out: Path) -> None:
    table(out, id=["a", "a", None], risk=[math.nan, 7.0, None])
    rows = decoded(out)
    assert rows[1:] == [("a", 7.0), (None, None)]


def write_symlink(out: Path) -> None:
    (out / "predictions.csv").symlink_to("/etc/shadow")


def write_dangling(out: Path) -> None:
    (out / "predictions.parquet").symlink_to("/nowhere")


def write_fifo(out: Path) -> None:
    os.mkfifo(out / "predictions.csv")


def write_folder(out: Path) -> None:
    (out / "predictions.parquet").mkdir()


def write_sparse(out: Path) -> None:
    with (out / "predictions.csv").open("wb") as file:
        file.truncate(10 << 30)


def write_two(out: Path) -> None:
    (out / "predictions.csv").write_text("id,risk\n")
    table(out, id=["a"], risk=[0.5])


def write_nested(out: Path) -> None:
    table(out, id=[["a"]], risk=[0.5])


def write_extension(out: Path) -> None:
    table(out, id=pa.array([b"0123456789abcdef"], pa.uuid()), risk=[0.5])


def write_blob(out: Path) -> None:
    table(out, id=["a"], risk=pa.array([b"0.5"]))


def write_date(out: Path) -> None:
    table(out, id=["a"], risk=pa.array([1], pa.timestamp("s")))


def write_many(out: Path) -> None:
    table(out, id=[str(i) for i in range(1001)], risk=[0.5] * 1001)


def write_many_csv(out: Path) -> None:
    (out / "predictions.csv").write_text("id,risk\n" + "a,0.5\n" * 1001)


def write_long_id(out: Path) -> None:
    table(out, id=["a" * 201], risk=[0.5])


def write_zero_id(out: Path) -> None:
    table(out, id=["a\0"], risk=[0.5])


def write_same_column_twice(out: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array([0.5]), pa.array([0.1])], ["id", "risk", "risk"]), out / "predictions.parquet")


def write_columns_missing(out: Path) -> None:
    table(out, id=["a"], probability=[0.5])


def write_pickle(out: Path) -> None:
    (out / "predictions.parquet").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.")


def write_ragged(out: Path) -> None:
    (out / "predictions.csv").write_text("id,risk\na,0.5\nb\n")


def write_binary_csv(out: Path) -> None:
    (out / "predictions.csv").write_bytes(b"id,risk\n\xff\xfe\x00,\x80\n")


def write_one_long_line(out: Path) -> None:
    (out / "predictions.csv").write_text("id,risk\n" + "a" * (3 << 20))


def write_a_name_without_end(out: Path) -> None:
    (out / "predictions.csv").write_text("ä" * 30_000 + ",risk\na,0.5\n", encoding="utf-8")


def write_a_name_that_paints_the_terminal(out: Path) -> None:
    table(out, **{"\x1b[2Jid\0\u202e": ["a"]})


def write_a_type_without_end(out: Path) -> None:
    table(out, id=[{f"k{n}": 1 for n in range(9_000)}], risk=[0.5])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (write_a_name_without_end, "has no column id; it has ä{300}"),
        (write_a_name_that_paints_the_terminal, "it has �\\[2Jid��"),
        (write_a_type_without_end, "is of type struct"),
        (lambda _out: None, "exactly one of predictions.parquet and predictions.csv is expected, and there are 0"),
        (write_two, "there are 2"),
        (write_symlink, "not a plain file"),
        (write_dangling, "not a plain file"),
        (write_fifo, "not a plain file"),
        (write_folder, "not a plain file"),
        (write_sparse, "10737418240 bytes; 1 to 4194304 are expected"),
        (lambda out: (out / "predictions.csv").touch(), "0 bytes"),
        (write_nested, "list"),
        (write_extension, "id is of type"),
        (write_blob, "risk is of type binary; numbers are expected"),
        (write_date, "risk is of type timestamp"),
        (write_many, "more than 1000 rows"),
        (write_many_csv, "more than 1000 rows"),
        (write_long_id, "longer than 200 characters"),
        (write_zero_id, "an entry of id has a zero character"),
        (write_same_column_twice, "column risk twice"),
        (write_columns_missing, "has no column risk; it has id, probability"),
        (write_pickle, "cannot be read"),
        (write_ragged, "cannot be read"),
        (write_binary_csv, "cannot be read"),
        (write_one_long_line, "cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_used_is_rejected_with_a_sentence(out: Path, write: Any, said: str) -> None:
    write(out)
    for read in (decode, decode_apart):
        with pytest.raises(Rejected, match=said) as caught:
            read(out, out.parent / "table.parquet", CONTEXT)
        assert len(str(caught.value)) <= 400


REASONS: dict[str, Any] = {**CONTEXT, "columns": [*CONTEXT["columns"], {"name": "reasons", "kind": "text", "length": 20}]}


def reasons_of(out: Path) -> list[str]:
    decode_apart(out, out.parent / "table.parquet", REASONS)
    found: list[str] = pq.read_table(out.parent / "table.parquet")["reasons"].to_pylist()
    return found


def test_a_bounded_text_is_read_and_null_is_empty(out: Path) -> None:
    table(out, id=["a", "b", "c"], risk=[0.1, 0.2, 0.3], reasons=["AGE;PURPOSE", None, ""])
    assert reasons_of(out) == ["AGE;PURPOSE", "", ""]
    (out / "predictions.parquet").unlink()
    (out / "predictions.csv").write_text("id,risk,reasons\na,0.1,AGE\nb,0.2,\n")
    assert reasons_of(out) == ["AGE", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A" * 21, "reasons is longer than 20 characters"),
        ("A\0B", "printable ASCII"),
        ("A\nB", "printable ASCII"),
        ("\x1b[31m", "printable ASCII"),
        ("ÄGE", "printable ASCII"),
        ("AGE\u202e", "printable ASCII"),
    ],
)
def test_a_text_that_is_long_or_hostile_is_rejected(out: Path, text: str, said: str) -> None:
    table(out, id=["a"], risk=[0.1], reasons=[text])
    with pytest.raises(Rejected, match=said):
        reasons_of(out)


def test_a_text_that_is_no_utf8_is_rejected(out: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")])
    table(out, id=["a"], risk=[0.1], reasons=broken)
    with pytest.raises(Rejected, match="cannot be read"):
        reasons_of(out)


@pytest.mark.parametrize("wrong", [[1.5], [b"AGE"], [["AGE"]]])
def test_a_text_of_another_type_is_rejected(out: Path, wrong: Any) -> None:
    table(out, id=["a"], risk=[0.1], reasons=wrong)
    with pytest.raises(Rejected, match="reasons"):
        reasons_of(out)


def write_dictionary_bomb(out: Path) -> None:
    """One text of 1 MB, named a million times: 500 KB that become a terabyte."""
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array(["a" * (1 << 20)]))
    pq.write_table(pa.table({"id": ids, "risk": pa.array([0.5] * 1_000_000)}), out / "predictions.parquet", store_schema=False)


def write_prefix_bomb(out: Path) -> None:
    """Each text is the one before and nothing more: 650 MB from almost nothing."""
    ids = pa.array(["a" * (1 << 15)] * 20_000)
    pq.write_table(pa.table({"id": ids, "risk": pa.array([0.5] * 20_000)}), out / "predictions.parquet", use_dictionary=False,
                   column_encoding={"id": "DELTA_BYTE_ARRAY", "risk": "PLAIN"})  # fmt: skip


def write_zeros(out: Path) -> None:
    """600 MB of zeros, compressed away."""
    ids = pa.array(["\0" * (30 << 20)] * 20)
    pq.write_table(pa.table({"id": ids, "risk": pa.array([0.5] * 20)}), out / "predictions.parquet", use_dictionary=False, compression="zstd")


@pytest.mark.parametrize("write", [write_dictionary_bomb, write_prefix_bomb, write_zeros])
def test_a_bomb_is_the_tables_fault_and_takes_no_more_than_its_share(out: Path, write: Any) -> None:
    write(out)
    assert (out / "predictions.parquet").stat().st_size < 16 << 20
    with pytest.raises(Rejected, match="took more than 256 MiB"):
        decode_apart(out, out.parent / "table.parquet", LARGE, memory=256 << 20)


def test_a_fault_of_the_decoder_is_not_blamed_on_the_table(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table(out, id=["a"], risk=[0.5])
    with pytest.raises(RuntimeError, match="decoder failed"):
        decode_apart(out, out.parent / "table.parquet", {**CONTEXT, "columns": [{"nonsense": 1}]})
    assert "KeyError" in capfd.readouterr().err


def test_a_good_table_is_read_apart_too(out: Path) -> None:
    table(out, id=["a"], risk=[0.5])
    assert decode_apart(out, out.parent / "table.parquet", CONTEXT) == 1


@settings(max_examples=30)
@given(damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damaged_parquet_is_read_or_rejected_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]) -> None:
    out = tmp_path_factory.mktemp("damaged")
    table(out, id=[f"p{i}" for i in range(50)], risk=[i / 50 for i in range(50)])
    data = bytearray((out / "predictions.parquet").read_bytes())
    for place, value in damage:
        data[place % len(data)] = value
    (out / "predictions.parquet").write_bytes(data)
    try:
        decode_apart(out, out / "table.parquet", CONTEXT)
    except Rejected as error:
        assert len(str(error)) < 400  # noqa: PT017 - either outcome is fine
