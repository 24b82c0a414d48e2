"""What an attempt used, from its journal."""

from datetime import UTC, datetime
from typing import Any

from livinglab.domain.run import JournalEntry, Step
from livinglab.domain.situation import usage_of

AT = datetime(2026, 3, 2, tzinfo=UTC)


def journal(**steps: dict[str, Any]) -> dict[Step, JournalEntry]:
    return {Step(name): JournalEntry(attempt="run-x.1", step=Step(name), status="done", data=data, at=AT) for name, data in steps.items()}


def test_what_each_container_used_is_told_by_its_role() -> None:
    drive = {"usage": {"wall_seconds": 3.0}}
    found = usage_of(journal(collect={"usage": {"wall_seconds": 2.0, "gpu_seconds": 4.0}, "drive": drive}, measure={"usage": {"cpu_seconds": 1.5}},
                             decode={"usage": {}}, execute={"handle": "7"}))  # fmt: skip
    assert found == {"pilot": {"wall_seconds": 2.0, "gpu_seconds": 4.0}, "drive": {"wall_seconds": 3.0}, "measure": {"cpu_seconds": 1.5}}


def test_what_an_earlier_attempt_did_is_not_counted_again() -> None:
    assert usage_of(journal(collect={"reused_from": "run-x.1", "usage": {"wall_seconds": 2.0}}, decode={"usage": {"wall_seconds": 1.0}})) == {
        "decode": {"wall_seconds": 1.0}}  # fmt: skip


def test_a_step_under_way_has_used_nothing_yet() -> None:
    entry = JournalEntry(attempt="run-x.1", step=Step.MEASURE, status="intent", data={"usage": {"wall_seconds": 2.0}}, at=AT)
    assert usage_of({Step.MEASURE: entry}) == {}
