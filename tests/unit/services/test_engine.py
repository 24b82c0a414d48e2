"""The run engine over a site whose misfortunes can be arranged: what is whose fault, what is tried again, and who may write."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import Lab, open_lab
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import LEASE, Supervisor
from livinglab.domain.access import Caller
from livinglab.domain.errors import StaleEpoch, Unreachable
from livinglab.domain.run import Attempt, Cause, JobKey, Run, RunState, Step
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import new_key
from livinglab.ports import Outcome
from livinglab.services import outcomes
from livinglab.services.engine import Engine
from livinglab.services.recording import Recorder
from livinglab.settings import Settings
from livinglab.sites.attest import attest
from livinglab.testing.fakes import Backend, FakeClock, FakeContainer, FakeSite
from tests.unit.api.conftest import ROOT, image_archive

COUNTS = {"n": 400, "events": 150, "non_events": 200}
INTERVAL = {"lower": 0.7, "upper": 0.8, "level": 0.999, "method": "m"}
MEASUREMENTS = {"measurements": [
    {"metric": "completeness", "value": 1.0, **COUNTS}, {"metric": "uno_c", "value": 0.75, "interval": INTERVAL, **COUNTS},
    {"metric": "observed_expected", "value": 1.0, "interval": {**INTERVAL, "lower": 0.9, "upper": 1.2}, **COUNTS},
]}  # fmt: skip

Script = Callable[[FakeContainer], int | None]


def honest(c: FakeContainer) -> int:
    c.say(b"predicted\n")
    c.write("predictions.csv", b"id,risk\n")
    return 0


def harness(c: FakeContainer) -> int:
    verb = c.spec.argv[-1]
    told = json.loads(c.files["/context/context.json"])
    if verb == "decode":
        assert "seed" not in told
        assert not any(path.startswith("/hidden") for path in c.files)
        c.write("decode.json", b'{"status": "ok", "reason": "", "rows": 400}')
        c.write("table.parquet", b"a table")
    else:
        assert len(told["seed"]) == 64
        assert c.files["/decoded/table.parquet"] == b"a table"
        c.write("measurements.json", json.dumps(MEASUREMENTS).encode())
    return 0


@dataclass
class World:
    """A lab over a site in memory."""

    lab: Lab
    backend: Backend
    site: FakeSite
    engine: Engine
    authority: Caller
    participant: Caller
    plan: str

    def supervisor(self, **more: object) -> Supervisor:
        return Supervisor(store=self.lab.store, engine=self.engine, clock=self.lab.clock, slots=1, **more)  # type: ignore[arg-type]

    def carry(self) -> None:
        supervisor = self.supervisor()
        supervisor.serve(lambda attempt: carry_inline(supervisor, attempt), until_idle=True)

    def request(self, key: str = "key-00000001") -> Run:
        return self.lab.runs.request(self.participant, {"plan": self.plan}, key)

    def look(self, run: Run) -> tuple[Run, tuple[Attempt, ...]]:
        return self.lab.runs.get(self.authority, run.id)

    def claim(self, owner: str = "me") -> Attempt:
        with self.lab.store.transaction() as tx:
            found = tx.claim("docker", owner, self.lab.clock.now(), LEASE, lambda _owner: False)
        assert found
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    clock = FakeClock()
    lab = Lab(**{**vars(open_lab(Settings(home=tmp_path / "home"))), "clock": clock})
    authority = Caller(organisation="ministry", roles={"tiny": Role.AUTHORITY}, token="a")
    participant = Caller(organisation="startup", roles={"tiny": Role.PARTICIPANT}, token="p")
    vault = FileVault(lab.settings.vault_path)
    _secret, commitment = vault.new_secret(bytes(32))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"data")
    data = vault.add(tmp_path / "data")
    images = {
        name: lab.images.upload(caller, [image_archive(text=name.encode())]).digest
        for name, caller in (("harness", authority), ("pilot", participant))
    }
    spec = yaml.safe_load((ROOT / "tests" / "sandboxes" / "tiny" / "sandbox.yaml").read_text())
    spec["disclosure"]["exit_code"] = ["authority"]
    lab.sandboxes.register(authority, {"spec": spec, "harness_image": images["harness"], "participant_data": data.model_dump(),
                                       "hidden_data": data.model_dump(), "commitment": commitment})  # fmt: skip
    manifest = {"name": "p", "version": "1", "title": "A pilot", "summary": "A pilot for tests.", "sandbox": "tiny", "task": "survival",
                "entrypoint": ["pilot"], "resources": {"memory": 64 << 20, "cpus": 1, "pids": 16, "wall_seconds": 10, "output_bytes": 1 << 20,
                                                       "output_files": 4, "log_bytes": 4096}}  # fmt: skip
    pilot = lab.applications.submit(participant, manifest, images["pilot"])
    proposal = {"pilot": pilot.id, "objectives": ["x"], "valid_from": "2020-01-01", "valid_until": "2099-01-01"}
    plan = lab.plans.propose(participant, proposal)
    for caller, role in ((participant, Role.PARTICIPANT), (authority, Role.AUTHORITY)):
        signer = new_key(tmp_path / f"{role}.pem")
        lab.access.register_key(caller, signer.public_pem.decode())
        statement = statements.plan_signature(plan=plan.id, version=1, digest=plan.digest, role=role, organisation=caller.organisation)
        lab.plans.sign(caller, plan.id, signer.sign(statement, dsse.IN_TOTO))
    backend = Backend(scripts={"pilot": honest, "python3": harness}, images=set(images.values()), datasets={data.digest: {"train.parquet": b"data"}})
    site = FakeSite(backend, clock, name="docker")
    engine = Engine(store=lab.store, site=site, artifacts=lab.artifacts, recorder=Recorder(clock, new_key(tmp_path / "lab.pem")), vault=vault,
                    attest=attest, work=tmp_path / "work")  # fmt: skip
    return World(lab, backend, site, engine, authority, participant, plan.id)


def test_a_run_goes_from_request_to_verdict_and_leaves_nothing_at_the_site(world: World) -> None:
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.verdict, ended.counts, len(attempts)) == (RunState.COMPLETED, "PASS", True, 1)
    assert set(world.backend.runs.values()) == {1}
    assert world.site.owned() == set()
    assert world.lab.runs.log(world.authority, run.id, "pilot", 0, 100) == b"predicted\n"


@pytest.mark.parametrize("method", ["ensure_image", "push", "submit", "observe", "collect", "release", "owned"])
@pytest.mark.parametrize("after", [False, True])
def test_a_backend_that_is_away_for_a_moment_is_waited_for(world: World, method: str, after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livinglab.dispatch.supervisor.BACK_OFF", 0.001)
    world.site.fail(method, Unreachable("gone for a moment."), after=after)
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.verdict, len(attempts)) == (RunState.COMPLETED, "PASS", 1)
    assert set(world.backend.runs.values()) == {1}, "nothing ran twice"


def test_a_lost_job_is_the_platforms_fault_and_never_submitted_again_under_its_key(world: World) -> None:
    def vanish(c: FakeContainer) -> int:
        if c.key.attempt.endswith(".1"):
            world.backend.lose(c.key)
        return honest(c)

    world.backend.scripts["pilot"] = vanish
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert [a.state for a in attempts] == [RunState.FAILED, RunState.COMPLETED]
    assert attempts[0].failure
    assert attempts[0].failure.cause is Cause.PLATFORM
    assert ended.verdict == "PASS"
    assert set(world.backend.runs.values()) == {1}


def test_a_job_that_is_lost_after_it_was_seen_to_end_is_the_platforms_fault_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collect = world.site.collect
    lost: list[JobKey] = []

    def removed_by_someone(key: JobKey, into: Path) -> object:
        if key.role == "pilot" and not lost:
            world.backend.lose(key)
            lost.append(key)
        return collect(key, into)

    monkeypatch.setattr(world.site, "collect", removed_by_someone)
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    failure = attempts[0].failure
    assert failure
    assert (failure.cause, "was lost" in failure.sentence, ended.verdict) == (Cause.PLATFORM, True, "PASS")


def test_a_failing_harness_is_retried_on_the_same_sealed_outputs(world: World) -> None:
    def stumble(c: FakeContainer) -> int:
        if c.spec.argv[-1] == "measure" and c.key.attempt.endswith(".1"):
            c.say(b"out of luck\n")
            return 1
        return harness(c)

    world.backend.scripts["python3"] = stumble
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert [a.state for a in attempts] == [RunState.FAILED, RunState.COMPLETED]
    assert attempts[0].failure
    assert "out of luck" in attempts[0].failure.sentence
    assert ended.verdict == "PASS"
    assert sum(n for key, n in world.backend.runs.items() if key.role == "pilot") == 1, "the pilot ran once"


def test_a_platform_that_keeps_failing_gives_up_after_three_attempts_and_costs_no_quota(world: World) -> None:
    world.backend.scripts["python3"] = lambda _c: 1
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.counts, len(attempts)) == (RunState.FAILED, False, 3)
    assert "costs no quota" in world.lab.runs.why(world.participant, run.id).sentence


@pytest.mark.parametrize("measured", [
    b"not json", b'{"measurements": [{"metric": "uno_c"}]}', b'{"measurements": [], "surprise": 1}',
    json.dumps({"measurements": [{"metric": "uno_c", "value": float("nan"), **COUNTS}]}).encode(),
])  # fmt: skip
def test_a_harness_that_writes_anything_else_is_a_fault_of_the_platform(world: World, measured: bytes) -> None:
    def babble(c: FakeContainer) -> int:
        if c.spec.argv[-1] != "measure":
            return harness(c)
        c.write("measurements.json", measured)
        return 0

    world.backend.scripts["python3"] = babble
    run = world.request()
    world.carry()
    ended, _ = world.look(run)
    assert ended.failure
    assert ended.failure.cause is Cause.PLATFORM
    assert "measurements.json" in ended.failure.sentence


def test_a_decoder_that_rejects_is_the_pilots_fault_with_its_sentence(world: World) -> None:
    def reject(c: FakeContainer) -> int:
        c.write("decode.json", b'{"status": "rejected", "reason": "predictions.csv has no column risk.", "rows": 0}')
        return 0

    world.backend.scripts["python3"] = reject
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert ended.failure
    assert (ended.failure.cause, ended.failure.sentence, len(attempts)) == (Cause.PILOT, "predictions.csv has no column risk.", 1)


@pytest.mark.parametrize("property_", ["network", "root", "capabilities", "seccomp", "memory", "user"])
def test_isolation_that_is_not_proven_refuses_the_run(world: World, property_: str) -> None:
    world.site.findings[property_] = False  # type: ignore[index]
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, len(attempts)) == (RunState.REFUSED, 1)
    assert ended.failure
    assert ended.failure.code == "isolation-not-proven"
    assert property_ in ended.failure.sentence


def test_what_was_registered_after_the_signatures_admits_nothing(world: World) -> None:
    run = world.request()
    with world.lab.store.transaction() as tx:
        plan = tx.plan(world.plan)
        assert plan
        pilot = tx.pilot(plan.body.pilot)
        assert pilot
        tx.update_pilot(pilot.model_copy(update={"image": "sha256:" + "9" * 64}), pilot)
    world.carry()
    ended, _ = world.look(run)
    assert ended.state is RunState.REFUSED
    assert ended.failure
    assert "the pilot's image is sha256:999" in ended.failure.sentence
    assert not world.backend.runs, "nothing was started"


def test_a_supervisor_that_was_taken_over_writes_nothing_more(world: World) -> None:
    world.request()
    first = world.claim("first")
    world.engine.advance(first.id, first.epoch)
    world.lab.clock.advance(LEASE + timedelta(seconds=1))  # type: ignore[attr-defined]
    second = world.claim("second")
    assert (second.id, second.epoch) == (first.id, first.epoch + 1)
    before = world.engine.journal.situation(first.id).journal
    with pytest.raises(StaleEpoch):
        world.engine.advance(first.id, first.epoch)
    assert world.engine.journal.situation(first.id).journal == before
    assert world.engine.advance(second.id, second.epoch).step is Step.IMAGES


def test_an_attempt_that_is_held_is_not_claimed_again_until_its_lease_is_over(world: World) -> None:
    world.request()
    world.claim("first")
    with world.lab.store.transaction() as tx:
        assert tx.claim("docker", "second", world.lab.clock.now(), LEASE, lambda _owner: False) is None
        assert tx.claim("docker", "second", world.lab.clock.now(), LEASE, lambda owner: owner == "first") is not None


def test_a_cancel_while_the_pilot_runs_is_seen_dead_before_it_is_final(world: World) -> None:
    world.backend.scripts["pilot"] = lambda _c: None  # goes on for ever
    run = world.request()
    attempt = world.claim()
    while JobKey(attempt=attempt.id, role="pilot") not in world.site.owned():
        world.engine.advance(attempt.id, attempt.epoch)
    world.lab.runs.cancel(world.participant, run.id, "no more")
    while not world.engine.advance(attempt.id, attempt.epoch).done:
        assert world.look(run)[0].state is RunState.CANCELLING
    ended, attempts = world.look(run)
    assert ended.state is RunState.CANCELLED
    assert attempts[0].cancel_seen_dead_at
    assert world.site.owned() == set()


def test_the_measured_runs_that_the_plan_fixes_are_all_there_are(world: World) -> None:
    with world.lab.store.transaction() as tx:
        plan = tx.plan(world.plan)
    assert plan
    for number in range(plan.body.measured_runs):
        world.request(f"key-{number:08d}")
        world.carry()
    with pytest.raises(Exception, match="20 measured runs are used") as refused:
        world.request("key-one-more")
    assert refused.value.reasons == ("the plan's 20 measured runs are used or under way",)  # type: ignore[attr-defined]


def test_a_run_that_lost_its_worker_says_so(world: World) -> None:
    run = world.request()
    attempt = world.claim()
    world.engine.advance(attempt.id, attempt.epoch)
    assert "is being admitted" in world.lab.runs.why(world.participant, run.id).sentence or "admit" in str(world.look(run))


def test_a_supervisor_that_collects_too_late_takes_nothing_away(world: World, tmp_path: Path) -> None:
    """It lost the attempt while it copied; its end falls into the copying of the next one."""
    run = world.request()
    attempt, key = world.claim(), JobKey(attempt=f"{run.id}.1", role="pilot")
    while world.engine.upcoming(attempt.id) is not Step.COLLECT:
        world.engine.advance(attempt.id, attempt.epoch)
    work = tmp_path / "work"
    (work / "collect" / "left-by-a-killed-one").mkdir(parents=True)
    os.utime(work / "collect" / "left-by-a-killed-one", (0, 0))

    class Interrupted(FakeSite):
        def collect(self, key: JobKey, into: Path) -> Outcome:
            outcomes.collect(world.site, world.lab.artifacts, key, work)
            return world.site.collect(key, into)

    collected = outcomes.collect(Interrupted(world.backend, world.site.clock), world.lab.artifacts, key, work)
    assert list(collected.outputs) == ["predictions.csv"]
    assert not list((work / "collect").iterdir())


def test_a_harness_cannot_write_the_labs_documents(world: World) -> None:
    """What it leaves beside its measurements is kept under its own name, and never as a verdict or an attestation."""

    def forger(c: FakeContainer) -> int:
        for name in ("verdict.json", "isolation-measure.json", "isolation-pilot.json"):
            c.write(name, b'{"verdict": "PASS"}')
        return harness(c)

    world.backend.scripts["python3"] = forger
    run = world.request()
    world.carry()
    state, attempts = world.look(run)
    assert (state.state, len(attempts)) == (RunState.COMPLETED, 1)
    named = {d.name: world.lab.artifacts.read(d.digest) for d in world.lab.runs.documents(world.authority, run.id)}
    assert json.loads(named["verdict.json"])["results"]
    assert json.loads(named["isolation-measure.json"])["holds"]
    assert named["measure/verdict.json"] == b'{"verdict": "PASS"}'
