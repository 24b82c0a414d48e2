"""Records to put into a store: small, valid, and told apart by the numbers they are made from."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from livinglab.domain.access import Event, Identity, LedgerRow, Member, PublicKey, Token
from livinglab.domain.canonical import canonical, sha256
from livinglab.domain.criteria import Criterion
from livinglab.domain.pilot import Pilot, PilotManifest
from livinglab.domain.plan import Plan, PlanBody
from livinglab.domain.run import Attempt, JournalEntry, Run, Step
from livinglab.domain.sandbox import DatasetRef, Release, Role, SandboxSpec
from livinglab.ports import Store, Tx

T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """That long after the beginning of it all."""
    return T0 + timedelta(seconds=seconds)


def digest(*of: object) -> str:
    return sha256(repr(of).encode())


def token(n: int, **more: Any) -> Token:
    return Token(id=f"token-{n}", hash=f"{n:064x}", organisation="startup", roles={"tiny": Role.PARTICIPANT}, created_at=T0, **more)


def member(n: int, **more: Any) -> Member:
    identity = Identity(issuer="https://id.example", subject=f"s-{n}")
    return Member(identity=identity, organisation="startup", roles={"tiny": Role.PARTICIPANT}, created_at=T0, **more)


def key(n: int, organisation: str = "startup") -> PublicKey:
    return PublicKey(key_id=f"{n:064x}", organisation=organisation, pem=f"-----BEGIN {n}-----", created_at=T0)


def release(version: int = 1, sandbox: str = "tiny", title: str = "A tiny sandbox") -> Release:
    criterion = Criterion.model_validate({
        "id": "completeness", "title": "All predictions are there", "metric": "completeness", "direction": "at_least", "threshold": 1.0,
        "compare": "point", "interval": {"method": "none"}, "min_events": 0, "basis": "sandbox", "source": "for tests",
        "rationale": "Missing predictions never help."})  # fmt: skip
    spec = SandboxSpec.model_validate({
        "id": sandbox, "version": version, "title": title, "domain": "personalised-medicine", "summary": "For the tests of the store.",
        "task": "survival", "data": {"card": "none", "visibility": "demonstration"}, "harness": {"replicates": 200},
        "slices": {"all": {"title": "All"}}, "criteria": [criterion]})  # fmt: skip
    return Release(spec=spec, harness_image=digest("harness"), participant_data=DatasetRef(digest=digest("participant")),
                   hidden_data=DatasetRef(digest=digest("hidden")), commitment=digest("commitment"))  # fmt: skip


def pilot(n: int = 0, organisation: str = "startup", sandbox: str = "tiny") -> Pilot:
    manifest = PilotManifest(name="tiny", version="1", title="A tiny pilot", summary="For the tests of the store.", sandbox=sandbox,
                             task="survival", entrypoint=("python3",))  # fmt: skip
    return Pilot(id=f"pilot-{n:04}", organisation=organisation, sandbox=sandbox, manifest=manifest, image=digest("image"), created_at=at(n))


def plan(of: Pilot, n: int = 0, version: int = 1) -> tuple[Plan, bytes]:
    """A plan, and the bytes that are signed."""
    d = digest("anything")
    body = PlanBody(id=f"plan-{n:04}", version=version, previous=d if version > 1 else None, pilot=of.id, participant=of.organisation,
                    authority="ministry", sandbox=of.sandbox, release=d, specification=d, criteria=d, isolation=d, harness_image=d,
                    participant_data=d, hidden_data=d, commitment=d, pilot_image=d, manifest=d, measured_runs=3, replicates=200,
                    sites=("docker",), objectives=("see",), valid_from=date(2026, 1, 1), valid_until=date(2026, 12, 31))  # fmt: skip
    data, named = body.encode()
    return Plan(body=body, digest=named, created_at=at(n)), data


def run(of: Pilot, n: int = 0, *, ordinal: int | None = None, plan_id: str = "plan-0000", site: str = "docker") -> Run:
    return Run(id=f"run-{n:04}", plan=plan_id, plan_digest=digest("plan"), pilot=of.id, organisation=of.organisation, sandbox=of.sandbox,
               site=site, ordinal=n + 1 if ordinal is None else ordinal, created_at=at(n))  # fmt: skip


def attempt(of: Run, number: int = 1) -> Attempt:
    return Attempt(run=of.id, number=number, nonce="00", created_at=of.created_at)


def entry(of: Attempt, step: Step = Step.ADMIT, status: Any = "intent", **data: object) -> JournalEntry:
    return JournalEntry(attempt=of.id, step=step, status=status, data=data, at=T0)


def event(kind: str = "test", organisation: str = "startup", sandbox: str = "tiny", **more: Any) -> Event:
    return Event(kind=kind, organisation=organisation, sandbox=sandbox, at=T0, **more)


def append(tx: Tx, chain: str, said: str) -> LedgerRow:
    """The next entry of a chain, naming the one before it."""
    head = tx.ledger_head(chain)
    sequence, previous = (head[0] + 1, head[1]) if head else (0, "")
    body = said.encode()
    data = canonical({"chain": chain, "seq": sequence, "previous": previous, "body": sha256(body)})
    row = LedgerRow(chain=chain, sequence=sequence, digest=sha256(data), entry=data, body=body)
    tx.append_ledger(row)
    return row


def with_attempts(store: Store, count: int = 1, site: str = "docker") -> list[Attempt]:
    """A pilot and so many queued runs of it, each with its first attempt."""
    with store.transaction() as tx:
        of = tx.pilot("pilot-0000") or pilot()
        if tx.pilot(of.id) is None:
            tx.add_pilot(of)
        made = []
        for n in range(count):
            queued = run(of, n, site=site)
            made.append(attempt(queued))
            tx.add_run(queued, made[-1])
    return made
