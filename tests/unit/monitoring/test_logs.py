"""Log lines: what each is about, for people and for programs."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from livinglab.monitoring.logs import Form, about, configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def line(form: Form, capsys: pytest.CaptureFixture[str]) -> str:
    configure(form)
    with about(run="run-1", attempt="run-1.1", site=None), about(step="execute"):
        logging.getLogger("livinglab.x").warning("it is %s\nnot here", "away", extra={"about": {"status": 503}})
    return capsys.readouterr().err


def test_a_line_for_programs_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    said = line("json", capsys)
    assert said.count("\n") == 1
    document = json.loads(said)
    assert document.pop("at").endswith("Z")
    assert document == {"level": "WARNING", "logger": "livinglab.x", "message": "it is away\nnot here", "run": "run-1", "attempt": "run-1.1",
                        "step": "execute", "status": 503}  # fmt: skip


def test_a_line_for_people_names_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert line("text", capsys).endswith("not here [run=run-1 attempt=run-1.1 step=execute status=503]\n")


def test_an_error_comes_with_its_traceback_in_the_same_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    try:
        int("of the test")
    except ValueError:
        logging.getLogger("livinglab.x").exception("it failed")
    document = json.loads(capsys.readouterr().err)
    assert document["error"].endswith("'of the test'")
    assert "run" not in document


def test_what_two_threads_log_is_not_mixed_up(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")

    def work(number: int) -> None:
        with about(run=f"run-{number}"):
            for _ in range(20):
                logging.getLogger("livinglab.x").info("%d", number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert len(lines) == 80
    assert all(found["run"] == f"run-{found['message']}" for found in lines)
