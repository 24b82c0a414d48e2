"""The run engine over a site whose misfortunes can be arranged: what is whose fault, what is tried again, and who may write."""

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import yaml

from livinglab.artifacts.vault import FileVault
from livinglab.bootstrap import Lab, open_lab
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import LEASE, Supervisor
from livinglab.domain.access import Caller
from livinglab.domain.errors import Conflict, Invalid, StaleEpoch, Unreachable
from livinglab.domain.plan import PlanState
from livinglab.domain.run import Attempt, Cause, JobKey, Run, RunState, Step
from livinglab.domain.sandbox import Role
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.ledger import Entry
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import verify
from livinglab.ports import Artifacts, Outcome
from livinglab.services import outcomes
from livinglab.services.engine import Engine
from livinglab.services.recording import Recorder
from livinglab.settings import Settings
from livinglab.sites.attest import attest
from livinglab.testing.fakes import Backend, FakeClock, FakeContainer, FakeSite
from tests.unit.api.conftest import ROOT, image_archive

COUNTS = {"n": 400, "events": 150, "non_events": 200}
INTERVAL = {"lower": 0.7, "upper": 0.8, "level": 0.999, "method": "bootstrap-percentile"}
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
            (found,) = tx.claim("docker", owner, self.lab.clock.now(), LEASE, lambda _owner: False)
        return found


def make_world(tmp_path: Path, evidence: dict[str, bytes], **spec_changes: object) -> World:
    """A world whose sandbox requires these documents as text; they are attached, frozen by the plan and signed."""
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
    spec |= spec_changes
    spec["required_evidence"] = [{"name": name, "title": name, "must_hold": "What a test needs.", "media_types": ["text/plain"]} for name in evidence]
    lab.sandboxes.register(authority, {"spec": spec, "harness_image": images["harness"], "participant_data": data.model_dump(),
                                       "hidden_data": data.model_dump(), "commitment": commitment})  # fmt: skip
    manifest = {"name": "p", "version": "1", "title": "A pilot", "summary": "A pilot for tests.", "sandbox": "tiny", "task": "survival",
                "entrypoint": ["pilot"], "resources": {"memory": 64 << 20, "cpus": 1, "pids": 16, "wall_seconds": 10, "output_bytes": 1 << 20,
                                                       "output_files": 4, "log_bytes": 4096}}  # fmt: skip
    pilot = lab.applications.submit(participant, manifest, images["pilot"])
    for name, text in evidence.items():
        lab.documents.attach(participant, pilot.id, name, "text/plain", [text])
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


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, {})


def test_a_run_goes_from_request_to_verdict_and_leaves_nothing_at_the_site(world: World) -> None:
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.verdict, ended.counts, len(attempts)) == (RunState.COMPLETED, "PASS", True, 1)
    assert set(world.backend.runs.values()) == {1}
    assert world.site.owned() == set()
    assert world.lab.results.log(world.authority, run.id, "pilot", 0, 100) == b"predicted\n"


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


class Full:
    """The lab's artifacts on a disk that has no room at a third of all tries."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts, self.chance, self.refused = artifacts, Random(7), 0

    def __getattr__(self, name: str) -> object:
        if self.chance.random() < 1 / 3:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", "/lab/blobs")
        return getattr(self.artifacts, name)


def test_a_disk_that_is_full_for_a_while_costs_time_and_no_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livinglab.dispatch.supervisor.FULL", 0.001)
    full = Full(world.lab.artifacts)
    world.engine = replace(world.engine, artifacts=full)  # type: ignore[arg-type]
    run = world.request()
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, ended.verdict, len(attempts)) == (RunState.COMPLETED, "PASS", 1)
    assert set(world.backend.runs.values()) == {1}, "nothing ran twice"
    assert full.refused > 5


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
    assert "out of luck" not in attempts[0].failure.sentence, "a harness has seen the hidden data"
    with world.lab.store.transaction(read_only=True) as tx:
        assert tx.read_log(attempts[0].id, "measure", 0, 100) == b"out of luck\n"
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
        assert tx.claim("docker", "second", world.lab.clock.now(), LEASE, lambda _owner: False) == ()
        assert len(tx.claim("docker", "second", world.lab.clock.now(), LEASE, lambda owner: owner == "first")) == 1


@pytest.mark.parametrize("logs", [[], ["participant"]])
def test_the_end_of_a_pilots_log_is_told_only_where_the_participant_may_read_it(world: World, logs: list[str]) -> None:
    world.request()
    attempt = world.claim()
    s = world.engine.journal.situation(attempt.id)
    disclosure = s.release.spec.disclosure.model_copy(update={"logs": tuple(Role(role) for role in logs)})
    released = s.release.model_copy(update={"spec": s.release.spec.model_copy(update={"disclosure": disclosure})})
    collected = outcomes.Collected(key=s.key("pilot"), data={"exit_code": 3, "limit": None, "output_problem": None}, documents=(), report=None,
                                   site_view=(), log=b"age 81, sex f\n")  # fmt: skip
    failure = outcomes.pilot_failure(replace(s, release=released), collected)
    assert failure
    assert ("age 81" in failure.sentence) == bool(logs)


def trusted(world: World, folder: Path) -> TrustPolicy:
    signer = world.engine.recorder.signer
    assert isinstance(signer, KeySigner)
    sides = [
        TrustedKey((folder / f"{role}.pem.pub").read_bytes(), role, owner) for role, owner in (("participant", "startup"), ("authority", "ministry"))
    ]
    return TrustPolicy.of([TrustedKey(signer.public_pem, "lab", "the-lab"), *sides])


def test_whatever_becomes_of_runs_their_dossier_holds(world: World, tmp_path: Path) -> None:
    def stumble(c: FakeContainer) -> int:
        return 1 if c.spec.argv[-1] == "measure" and not c.key.attempt.endswith(".3") else harness(c)

    world.request("key-completed")
    world.carry()
    world.backend.scripts["python3"] = stumble
    world.request("key-tried-again")
    world.carry()
    world.backend.scripts["pilot"] = lambda _c: 3
    world.request("key-failed")
    world.carry()
    world.lab.runs.cancel(world.participant, world.request("key-cancelled").id, "no more")
    world.site.findings["network"] = False
    world.request("key-refused")
    world.carry()
    for caller in (world.participant, world.authority):
        world.lab.dossiers.write(caller, world.plan, tmp_path / f"{caller.token}.zip")
        report = verify(tmp_path / f"{caller.token}.zip", trusted(world, tmp_path))
        assert report.ok, report.problems
    attempts = verify(tmp_path / "a.zip", trusted(world, tmp_path)).facts["attempts"]
    states = [fact.get("state") for fact in attempts.values()]  # the one cancelled before it began has no statement
    assert states == ["completed", "failed", "failed", "completed", "failed", "refused"]


def kinds(world: World) -> list[str]:
    with world.lab.store.transaction(read_only=True) as tx:
        return [Entry(data=r.entry, digest=r.digest, body=r.body).header["kind"] for r in tx.ledger(world.plan)]


def test_a_plan_that_is_suspended_while_a_run_is_being_admitted_admits_it_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.request()
    has_dataset = world.site.has_dataset

    def meanwhile(digest: str) -> bool:
        if "plan-suspended" not in kinds(world):
            world.lab.plans.stop(world.authority, world.plan, PlanState.SUSPENDED, "a doubt")
        return has_dataset(digest)

    monkeypatch.setattr(world.site, "has_dataset", meanwhile)
    world.carry()
    assert "admission" not in kinds(world)
    assert world.look(run)[0].state is RunState.REFUSED


def test_a_pilot_that_was_not_started_before_the_plan_ended_is_not_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.request()
    attempt = world.claim()
    with monkeypatch.context() as away:
        away.setattr(world.site, "submit", lambda _spec, _key: (_ for _ in ()).throw(Unreachable("gone for a century.")))
        while world.engine.upcoming(attempt.id) is not Step.EXECUTE:
            world.engine.advance(attempt.id, attempt.epoch)
        with pytest.raises(Unreachable):
            world.engine.advance(attempt.id, attempt.epoch)
    world.lab.clock.advance(timedelta(days=36_500))  # type: ignore[attr-defined]
    while not world.engine.advance(attempt.id, attempt.epoch).done:
        pass
    ended, _ = world.look(run)
    assert (ended.state, world.backend.runs) == (RunState.REFUSED, {})
    assert ended.failure
    assert "the plan ended on" in ended.failure.sentence


def test_a_plan_that_is_not_signed_is_not_resumed_into_force(world: World) -> None:
    with world.lab.store.transaction(read_only=True) as tx:
        agreed = tx.plan(world.plan)
        pilot = tx.pilot(agreed.body.pilot) if agreed else None
    assert pilot
    again = world.lab.applications.submit(world.participant, pilot.manifest.model_dump(mode="json") | {"version": "2"}, pilot.image)
    plan = world.lab.plans.propose(
        world.participant, {"pilot": again.id, "objectives": ["x"], "valid_from": "2020-01-01", "valid_until": "2099-01-01"}
    )
    with pytest.raises(Conflict, match="only a suspended plan is resumed"):
        world.lab.plans.stop(world.authority, plan.id, PlanState.AGREED, "because")
    world.lab.plans.stop(world.authority, world.plan, PlanState.SUSPENDED, "a doubt")
    assert world.lab.plans.stop(world.authority, world.plan, PlanState.AGREED, "it was none").state is PlanState.AGREED


def test_an_authority_does_not_agree_with_itself(world: World) -> None:
    with world.lab.store.transaction(read_only=True) as tx:
        agreed = tx.plan(world.plan)
        pilot = tx.pilot(agreed.body.pilot) if agreed else None
    assert pilot
    as_participant = world.authority.model_copy(update={"roles": {"tiny": Role.PARTICIPANT}})
    image = world.lab.images.upload(as_participant, [image_archive(text=b"pilot")]).digest
    own = world.lab.applications.submit(as_participant, pilot.manifest.model_dump(mode="json"), image)
    with pytest.raises(Invalid, match="does not oversee a pilot of its own"):
        world.lab.plans.propose(as_participant, {"pilot": own.id, "objectives": ["x"], "valid_from": "2020-01-01", "valid_until": "2099-01-01"})


def test_an_attempt_that_waits_to_be_tried_again_is_cancelled_by_whoever_takes_it_up(world: World) -> None:
    world.backend.scripts["python3"] = lambda c: 1 if c.spec.argv[-1] == "measure" else harness(c)
    run = world.request()
    attempt = world.claim()
    while not world.engine.advance(attempt.id, attempt.epoch).done:
        pass
    assert world.lab.runs.cancel(world.participant, run.id, "no more").state is RunState.CANCELLING, "its journal has the first one's steps"
    world.carry()
    ended, attempts = world.look(run)
    assert (ended.state, len(attempts)) == (RunState.CANCELLED, 2)
    assert attempts[-1].cancel_seen_dead_at


def test_one_idempotency_key_asked_eight_times_at_once_is_one_run(world: World) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _i: world.request("key-the-same").id, range(8)))
    assert len(set(found)) == 1
    assert kinds(world).count("run-queued") == 1


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
    named = {d.name: world.lab.artifacts.read(d.digest) for d, _readable in world.lab.results.documents(world.authority, run.id)}
    assert json.loads(named["verdict.json"])["results"]
    assert json.loads(named["isolation-measure.json"])["holds"]
    assert named["measure/verdict.json"] == b'{"verdict": "PASS"}'
