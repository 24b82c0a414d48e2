"""Tables that nobody should believe, one per name; each is written as `tables.py NAME`, or whole as `tables.py FILE BASE64`."""

import base64
import csv
import io
import math
import pickle
import sys
import zipfile
import zlib
from pathlib import Path

OUT = Path("/out")
HEADER = ("id", "risk")


def cohort():
    with open("/in/cohort.csv", newline="") as file:
        return list(csv.DictReader(file))


def predict(change=lambda i, row: [row], header=HEADER, **how):
    """Write a table in which `change` turns each row of a constant prediction into rows of its own."""
    with (OUT / "predictions.csv").open("w", newline="", **how) as out:
        writer = csv.writer(out)
        writer.writerow(header)
        for i, row in enumerate(cohort()):
            writer.writerows(change(i, [row["id"], "0.5"]))


def honest():
    """Predictions that pass, and so give away whoever should not have come so far."""
    new = OUT / "new"
    with new.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(HEADER)
        writer.writerows([row["id"], 1 - math.exp(-0.5 * math.exp(float(row["x"])))] for row in cohort())
    new.rename(OUT / "predictions.csv")


def constant():
    predict()


# --- rows -------------------------------------------------------------------------------------------------------------


def _eighth(risk):
    """Good predictions but for one."""
    honest()
    rows = (OUT / "predictions.csv").read_text().splitlines()
    rows[8] = f"{rows[8].partition(',')[0]},{risk}"
    (OUT / "predictions.csv").write_text("\n".join(rows) + "\n")


def nan():
    _eighth("nan")


def infinite():
    _eighth("-inf")


def huge():
    _eighth("1e308")


def out_of_range():
    _eighth("1.5")


def hexadecimal():
    _eighth("0x1p-1")


def underscored():
    _eighth("0.5_0")  # a number to Python, and to nobody else


def other_digits():
    _eighth("٠.٥")


def formula():
    _eighth("\"=cmd|' /C calc'!A0\"")


def _ids(change):
    honest()
    rows = [row.partition(",") for row in (OUT / "predictions.csv").read_text().splitlines()]
    (OUT / "predictions.csv").write_text("".join(f"{id_ if i == 0 else change(i, id_)},{risk}\n" for i, (id_, _, risk) in enumerate(rows)))


def wrong_ids():
    _ids(lambda i, _id: f"someone-{i}")


def spaced_ids():
    _ids(lambda _i, id_: f" {id_} ")


def other_letters():
    """Ids that look the same, and would be after normalisation."""
    _ids(lambda _i, id_: "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in id_))


def duplicates():
    predict(lambda i, row: [row, row] if i == 7 else [row])


def good_and_bad():
    """Each id twice, the second time with what it would rather have said."""
    honest()
    with (OUT / "predictions.csv").open("a") as out:
        out.writelines(f"{row['id']},0.5\n" for row in cohort())


def half():
    honest()
    rows = (OUT / "predictions.csv").read_text().splitlines()
    (OUT / "predictions.csv").write_text("\n".join(rows[:201]) + "\n")


def more():
    """A constant, and thousands of rows that were not asked for."""
    predict(lambda i, row: [row, *([f"more-{i}-{n}", f"{n / 40}"] for n in range(40))])


def only_a_header():
    (OUT / "predictions.csv").write_text("id,risk\n")


# --- what is no CSV ---------------------------------------------------------------------------------------------------


def no_column():
    predict(header=("id", "probability"))


def same_column_twice():
    (OUT / "predictions.csv").write_text("id,risk,risk\n" + "".join(f"{row['id']},0.5,0.1\n" for row in cohort()))


def endless_name():
    predict(header=("id", "r" * 60_000 + "ä" * 2_000))


def painting_name():
    predict(header=("id", "\x1b[2J\x1b[32mPASS\u202e"))


def zeros():
    (OUT / "predictions.csv").write_bytes(b"id,risk\n" + bytes(500_000))


def zeros_in_ids():
    predict(lambda _i, row: [[f"{row[0]}\0", row[1]]])


def two_marks():
    predict(header=("\ufeff\ufeffid", "risk"), encoding="utf-8")


def other_encoding():
    predict(encoding="utf-16")


def no_utf8():
    (OUT / "predictions.csv").write_bytes(b"id,risk\n" + b"\xff\xfe\xc0\x80,0.5\n" * 400)


def long_field():
    (OUT / "predictions.csv").write_text("id,risk\n" + "a" * 10_000_000 + ",0.5\n")


def open_quote():
    (OUT / "predictions.csv").write_text('id,risk\n"' + "a,0.5\n" * 100_000)


def ragged():
    predict(lambda i, row: [row * (1 + i % 3)])


def two_tables():
    honest()
    (OUT / "predictions.parquet").write_bytes((OUT / "predictions.csv").read_bytes())


# --- what is no Parquet -----------------------------------------------------------------------------------------------


def not_parquet():
    (OUT / "predictions.parquet").write_bytes(b"PAR1 this is not one PAR1")


def endless_footer():
    """It says that its description has two gigabytes."""
    (OUT / "predictions.parquet").write_bytes(b"PAR1" + b"\x15\x04" * 100 + (0x7FFFFFF0).to_bytes(4, "little") + b"PAR1")


class _Opened:
    """Whoever unpickles it executes a command."""

    def __reduce__(self):
        return (exec, ("import os; os.system('touch /out/table.parquet')",))


def pickled():
    (OUT / "predictions.parquet").write_bytes(pickle.dumps(_Opened()))


def zip_bomb():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("predictions.csv", "w") as inside:
        for _ in range(256):
            inside.write(bytes(1 << 20))
    (OUT / "predictions.parquet").write_bytes(packed.getvalue())


def packed_csv():
    (OUT / "predictions.csv").write_bytes(zlib.compress(bytes(1 << 28), 9, 31))  # as gzip writes it


if __name__ == "__main__":
    if len(sys.argv) > 2:
        (OUT / sys.argv[1]).write_bytes(base64.b64decode(sys.argv[2]))
    else:
        globals()[sys.argv[1]]()
