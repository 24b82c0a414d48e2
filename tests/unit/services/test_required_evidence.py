"""Required evidence from the plan to the dossier: admission looks again, and a stranger can check what was brought."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from livinglab.domain.access import Document
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import Refused, TooLarge
from livinglab.domain.plan import PlanState
from livinglab.domain.run import RunState
from livinglab.domain.sandbox import Role
from livinglab.evidence.verify import verify
from livinglab.ports import Tx
from livinglab.services.admission import why_not_admitted
from livinglab.services.sealing import Sealing
from tests.unit.services.test_engine import World, kinds, make_world, trusted

CASE, LOG = b"The brakes hold.\n", b"none\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {"safety-case": CASE, "hazard-log": LOG})


def another(world: World, data: bytes = b"The brakes do not hold.\n") -> Document:
    """A document that found its way past the door, as an operator with the database's password could bring it."""
    with world.lab.store.transaction(read_only=True) as tx:
        plan = tx.plan(world.plan)
    assert plan
    return Document(subject=plan.body.pilot, name="safety-case", media_type="text/plain", digest=sha256(data), size=len(data))


def test_a_run_with_required_evidence_is_measured_and_its_dossier_holds_for_everyone(world: World, tmp_path: Path) -> None:
    run = world.request()
    world.carry()
    assert world.look(run)[0].state is RunState.COMPLETED
    operator = world.authority.model_copy(update={"organisation": "the-lab", "roles": {"*": Role.OPERATOR}})
    found = {}
    for name, caller in (("participant", world.participant), ("authority", world.authority), ("operator", operator)):
        world.lab.dossiers.write(caller, world.plan, tmp_path / f"{name}.zip")
        report = verify(tmp_path / f"{name}.zip", trusted(world, tmp_path))
        assert report.ok, report.problems
        assert report.facts["required evidence"]["safety-case"] == sha256(CASE)
        found[name] = unpacked(tmp_path / f"{name}.zip").get("required/safety-case.txt")
    assert found == {"participant": CASE, "authority": CASE, "operator": None}
    assert b"required/safety-case.txt" in unpacked(tmp_path / "operator.zip")["withheld.json"]


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_dossier_holds_what_the_plan_froze_whatever_is_attached_since(world: World, tmp_path: Path) -> None:
    world.request()
    world.carry()
    world.lab.plans.stop(world.authority, world.plan, PlanState.COMPLETED, "it is done")
    pilot = another(world).subject
    world.lab.documents.attach(world.participant, pilot, "safety-case", "text/plain", [b"A later one.\n"])
    assert world.lab.documents.content(world.participant, pilot, "safety-case")[1] == b"A later one.\n"
    with world.lab.store.transaction() as tx:
        Sealing(world.lab.store, world.engine.recorder).checkpoint(tx)  # that it is completed is sealed, too
    world.lab.dossiers.write(world.participant, world.plan, tmp_path / "d.zip")
    assert verify(tmp_path / "d.zip", trusted(world, tmp_path)).ok
    assert unpacked(tmp_path / "d.zip")["required/safety-case.txt"] == CASE


@pytest.mark.parametrize("when", ["before it is asked for", "before it is admitted"])
def test_a_document_that_is_not_the_plans_admits_nothing(world: World, when: str) -> None:
    says = f"the document 'safety-case' is {another(world).digest}, the plan says {sha256(CASE)}"
    if when == "before it is asked for":
        with world.lab.store.transaction() as tx:
            tx.put_document(another(world))
        with pytest.raises(Refused) as refused:
            world.request()
        assert refused.value.reasons == (says,)
        return
    run = world.request()
    with world.lab.store.transaction() as tx:
        tx.put_document(another(world))
    world.carry()
    ended, _ = world.look(run)
    assert ended.state is RunState.REFUSED
    assert ended.failure
    assert says in ended.failure.sentence
    assert not world.backend.runs, "nothing was started"
    assert "admission" not in kinds(world)


def reasons(world: World, change: Callable[[Tx], None]) -> tuple[str, ...]:
    with world.lab.store.transaction() as tx:
        plan = tx.plan(world.plan)
        assert plan
        change(tx)
        return why_not_admitted(tx, plan, "docker", world.lab.clock.now().date())


def test_a_document_that_is_gone_and_one_that_was_never_frozen_admit_nothing(world: World) -> None:
    def gone(tx: Tx) -> None:
        tx.connection.exec_driver_sql("DELETE FROM documents WHERE name = 'hazard-log'")  # type: ignore[attr-defined]

    assert reasons(world, lambda _tx: None) == ()
    assert reasons(world, gone) == (f"the document 'hazard-log' is not there, the plan says {sha256(LOG)}",)
    with world.lab.store.transaction(read_only=True) as tx:
        plan = tx.plan(world.plan)
        assert plan
        unfrozen = plan.model_copy(update={"body": plan.body.model_copy(update={"documents": plan.body.documents[:1]})})
        found = why_not_admitted(tx, unfrozen, "docker", world.lab.clock.now().date())
    assert "the plan freezes no document 'safety-case', which the sandbox requires" in found


def test_a_stream_is_read_no_further_than_the_limit_and_leaves_nothing(world: World) -> None:
    pilot, drawn = another(world).subject, 0

    def endless() -> object:
        nonlocal drawn
        while True:
            drawn += 1
            yield b"x" * (1 << 20)

    blobs = sorted((world.lab.settings.home / "blobs").rglob("*"))
    with pytest.raises(TooLarge, match="4194304"):
        world.lab.documents.attach(world.participant, pilot, "safety-case", "text/plain", endless())  # type: ignore[arg-type]
    assert drawn == 5
    assert sorted((world.lab.settings.home / "blobs").rglob("*")) == blobs
