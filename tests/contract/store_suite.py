"""What every database behind the `Store` port must do. A test module gives it a `store`: a fresh one, at the newest schema."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta, timezone

import pytest

from livinglab.domain.access import CheckpointRow, Image, Upload
from livinglab.domain.canonical import canonical
from livinglab.domain.errors import Conflict, Invalid, LivingLabError
from livinglab.domain.pilot import PilotState
from livinglab.domain.plan import PlanState
from livinglab.ports import Tx
from livinglab.store.sql import SqlStore
from tests.contract import store_records as r


@dataclass(frozen=True)
class Somewhere:
    """A database of a test's own, and how to open it again."""

    url: str
    store: SqlStore


def told_and(tx: Tx, change: Callable[[Tx], None]) -> None:
    """An event, and something else."""
    tx.emit(r.event())
    change(tx)


class WithStore:
    """What the suites share."""

    @pytest.fixture
    def store(self, somewhere: Somewhere) -> SqlStore:
        return somewhere.store


class StoreSuite(WithStore):
    """Transactions, and what is kept of people, sandboxes, pilots and plans. One class, so that a database's module takes it on in a line."""

    # --- transactions ---

    def test_an_exception_undoes_everything(self, store: SqlStore) -> None:
        def work(tx: Tx) -> None:
            tx.add_pilot(r.pilot())
            tx.emit(r.event())
            r.append(tx, "c", "x")
            assert tx.last_event() > 0  # what was put off is written by now
            msg = "something else went wrong"
            raise ArithmeticError(msg)

        with pytest.raises(ArithmeticError), store.transaction() as tx:
            work(tx)
        with store.transaction(read_only=True) as tx:
            assert tx.pilot("pilot-0000") is None
            assert tx.events(0, 10) == ()
            assert tx.ledger_head("c") is None

    def test_one_question_is_answered_by_what_is_committed(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.emit(r.event())
            assert tx.last_event()
            assert store.ask(lambda tx: tx.last_event()) == 0
        assert store.ask(lambda tx: tx.last_event()) > 0

    def test_what_was_put_off_is_there_for_the_next_question_and_in_its_order(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            for n in range(3):
                tx.emit(r.event(data={"n": n}))
                r.append(tx, "c", f"entry {n}")
            assert [event.data["n"] for event in tx.events(0, 9)] == [0, 1, 2]
            assert [row.body for row in tx.ledger("c")] == [b"entry 0", b"entry 1", b"entry 2"]
            tx.remember("startup", "runs", "a key", "sha256:1", "run-1")
        with store.transaction(read_only=True) as tx:
            assert tx.idempotent("startup", "runs", "a key") == ("sha256:1", "run-1")
            assert tx.ledger_head("c") == (2, tx.ledger("c")[-1].digest)

    def test_a_refusal_of_what_was_put_off_comes_before_the_commit_and_undoes_everything(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.remember("startup", "runs", "a key", "sha256:1", "run-1")
            row = r.append(tx, "c", "first")
        for change, sentence in (
            (lambda tx: tx.remember("startup", "runs", "a key", "sha256:2", "run-2"), "refused"),
            (lambda tx: tx.append_ledger(row.model_copy(update={"sequence": 5, "digest": r.digest("x")})), "entry 5 is not the next one of chain c"),
        ):
            with pytest.raises(Conflict, match=sentence), store.transaction() as tx:
                told_and(tx, change)
        with store.transaction(read_only=True) as tx:
            assert tx.events(0, 9) == ()
            assert tx.idempotent("startup", "runs", "a key") == ("sha256:1", "run-1")
            assert tx.ledger_head("c") == (0, row.digest)

    def test_all_that_decides_about_a_run_that_is_asked_for_is_one_question(self, store: SqlStore) -> None:
        """As its parts are asked one by one; what is not there is None."""
        of = r.pilot()
        first, second = r.plan(of), r.plan(of, version=2)
        queued = r.run(of)
        with store.transaction() as tx:
            tx.add_pilot(of)
            for plan, body in (first, second):
                tx.add_plan(plan, body)
            tx.add_run(queued, r.attempt(queued))
            tx.remember("startup", "runs", "a key", "sha256:1", queued.id)
            row = r.append(tx, "plan-0000", "first")
        with store.transaction(read_only=True) as tx:
            asked = tx.asked("startup", "runs", "a key", "plan-0000", "docker")
            assert asked.before == ("sha256:1", queued.id)
            assert asked.plan == tx.plan("plan-0000") == second[0]
            assert asked.standing == tx.standing("plan-0000", of.id, "docker")
            assert tx.ledger_head("plan-0000") == (0, row.digest)
            assert tx.asked("rival", "runs", "a key", "plan-0000", "docker").before is None
            nothing = tx.asked("startup", "runs", "another", "plan-9999", "nowhere")
            assert (nothing.before, nothing.plan, nothing.standing) == (None, None, tx.standing("plan-9999", "plt-9999", "nowhere"))
            assert tx.ledger_head("plan-9999") is None

    def test_a_reader_sees_one_moment_and_neither_waits_for_a_writer_nor_stops_one(self, store: SqlStore) -> None:
        with store.transaction(read_only=True) as reader:
            assert reader.pilot("pilot-0000") is None
            with store.transaction() as writer:
                writer.add_pilot(r.pilot())
                assert reader.pilot("pilot-0000") is None
            assert reader.pilot("pilot-0000") is None
        with store.transaction(read_only=True) as reader:
            assert reader.pilot("pilot-0000") == r.pilot()

    def test_a_read_only_transaction_writes_nothing(self, store: SqlStore) -> None:
        with pytest.raises(Exception, match=r"(?i)read-?only") as caught, store.transaction(read_only=True) as tx:
            tx.add_pilot(r.pilot())
        assert not isinstance(caught.value, LivingLabError), "a mistake in a program is not a database that is away"
        with store.transaction() as tx:  # the same connection writes again
            tx.add_pilot(r.pilot())

    def test_times_come_back_as_the_same_moment(self, store: SqlStore) -> None:
        elsewhere = r.T0.astimezone(timezone(timedelta(hours=5, minutes=30)))
        with store.transaction() as tx:
            tx.add_checkpoint(CheckpointRow(size=0, root=b"", envelope=b"", at=elsewhere))
            tx.add_token(r.token(1, expires_at=elsewhere))
        with store.transaction(read_only=True) as tx:
            checkpoint, token = tx.checkpoint(), tx.token_by_hash(r.token(1).hash)
        assert checkpoint is not None
        assert (checkpoint.at, checkpoint.at.utcoffset()) == (r.T0, timedelta(0))
        assert token is not None
        assert token.expires_at == r.T0

    @pytest.mark.parametrize("name", ["no-such", "", "\x00", "é" * 40, "'; DROP TABLE pilots; --", "%"])
    def test_an_unknown_name_is_not_found_or_refused_but_never_a_crash(self, store: SqlStore, name: str) -> None:
        for look in ("pilot", "plan", "run", "attempt", "sandbox", "release", "image", "upload", "token_by_hash", "key"):
            # PostgreSQL's text holds no NUL: then it is the asker's fault, which is not worth a second look either
            with suppress(Invalid) if name == "\x00" else nullcontext(), store.transaction(read_only=True) as tx:
                assert getattr(tx, look)(name) is None

    # --- access ---

    def test_tokens(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.add_token(r.token(1))
            tx.add_token(r.token(2))
            assert tx.revoke_token("token-1", r.at(5))
            assert tx.revoke_token("token-1", r.at(9)), "twice is once"
            assert not tx.revoke_token("token-9", r.at(5))
        with store.transaction(read_only=True) as tx:
            assert tx.token_by_hash(r.token(2).hash) == r.token(2)
            assert tx.tokens() == (r.token(1, revoked_at=r.at(5)), r.token(2))

    def test_a_token_is_there_once(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.add_token(r.token(1))
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_token(r.token(1).model_copy(update={"id": "token-other"}))

    def test_members(self, store: SqlStore) -> None:
        revoked = r.member(2, revoked_at=r.at(5))
        with store.transaction() as tx:
            tx.put_member(r.member(2))
            tx.put_member(r.member(1))
            tx.put_member(revoked)
        with store.transaction(read_only=True) as tx:
            assert tx.members() == (r.member(1), revoked)
            assert tx.member(revoked.identity) == revoked
            assert tx.member(revoked.identity.model_copy(update={"issuer": "https://other.example"})) is None

    def test_uploads(self, store: SqlStore) -> None:
        one, other = (Upload(id=f"upl-{n}", organisation="startup", size=n, digest=r.digest(n), created_at=r.T0) for n in (1, 2))
        whole = one.model_copy(update={"image": r.digest(3)})
        with store.transaction() as tx:
            for upload in (other, one, whole):
                tx.put_upload(upload)
        with store.transaction() as tx:
            assert tx.uploads() == (whole, other)
            assert tx.upload("upl-1") == whole
            tx.remove_upload("upl-1")
            tx.remove_upload("upl-1")
            assert tx.uploads() == (other,)

    def test_a_key_belongs_to_one_organisation(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.add_key(r.key(1))
            tx.add_key(r.key(1))
            tx.add_key(r.key(2, "rival"))
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_key(r.key(1, "rival"))
        with store.transaction(read_only=True) as tx:
            assert tx.keys_of("startup") == (r.key(1),)
            assert tx.key(r.key(2).key_id) == r.key(2, "rival")

    def test_a_key_is_revoked_by_its_organisation_once_and_for_all(self, store: SqlStore) -> None:
        revoked = r.key(1).model_copy(update={"revoked_at": r.at(5)})
        with store.transaction() as tx:
            assert tx.add_key(r.key(1)) == r.key(1)
            tx.add_key(r.key(2))
            assert tx.add_key(r.key(1).model_copy(update={"created_at": r.at(3)})) == r.key(1), "it is registered since the first time"
            assert tx.revoke_key("rival", r.key(1).key_id, r.at(4)) is None
            assert tx.revoke_key("startup", r.key(9).key_id, r.at(4)) is None
            assert tx.keys_of("startup") == (r.key(1), r.key(2))
            assert tx.revoke_key("startup", r.key(1).key_id, r.at(5)) == revoked
            assert tx.revoke_key("startup", r.key(1).key_id, r.at(9)) == revoked, "twice is once"
        with pytest.raises(Conflict, match=rf"revoked on {r.at(5):%Y-%m-%d}\. .*livinglab key new"), store.transaction() as tx:
            tx.add_key(r.key(1))
        with pytest.raises(Conflict, match=r"registered already, and not by this organisation\.$"), store.transaction() as tx:
            tx.add_key(r.key(1, "rival"))
        with store.transaction(read_only=True) as tx:
            assert tx.key(r.key(1).key_id) == revoked
            assert tx.keys_of("startup") == (revoked, r.key(2))

    def test_an_upload_is_known_to_its_organisation_only(self, store: SqlStore) -> None:
        image = Image(digest=r.digest("image"), config=r.digest("config"), size=3 << 40, architecture="amd64")
        with store.transaction() as tx:
            tx.add_image("startup", image)
            tx.add_image("startup", image)
            tx.add_image("other", image)
            assert tx.image(image.digest) == image
            assert [tx.has_uploaded(o, image.digest) for o in ("startup", "other", "rival")] == [True, True, False]
            assert [tx.images_of(o) for o in ("startup", "other", "rival")] == [(image,), (image,), ()]

    def test_an_idempotency_key_is_used_once_per_organisation(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.remember("startup", "runs", "k", r.digest(1), "run-1")
            tx.remember("other", "runs", "k", r.digest(2), "run-2")
            assert tx.idempotent("startup", "runs", "k") == (r.digest(1), "run-1")
            assert tx.idempotent("rival", "runs", "k") is None
            assert tx.idempotent("startup", "pilots", "k") is None
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.remember("startup", "runs", "k", r.digest(3), "run-3")

    # --- sandboxes, pilots, plans ---

    def test_a_release_is_kept_byte_for_byte(self, store: SqlStore) -> None:
        released = r.release()
        document = b"  " + canonical(released) + b"\n"  # not what anyone would serialise again
        with store.transaction() as tx:
            tx.add_release(released, "ministry", document, r.T0)
            tx.add_release(released, "ministry", document, r.T0)  # the same again is once
        with store.transaction(read_only=True) as tx:
            assert tx.release_document(released.digest) == document
            assert tx.release(released.digest) == released

    def test_a_version_of_a_sandbox_never_changes(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            for version in (1, 2):
                tx.add_release(r.release(version), "ministry", canonical(r.release(version)), r.T0)
        other = r.release(2, title="Something else")
        with pytest.raises(Conflict, match="version 2"), store.transaction() as tx:
            tx.add_release(other, "ministry", canonical(other), r.T0)
        with store.transaction(read_only=True) as tx:
            assert tx.sandbox("tiny") == (r.release(2), "ministry")

    def test_sandboxes_come_in_pages_by_name(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            for name in ("b", "a", "c"):
                for version in (1, 2):
                    tx.add_release(r.release(version, name), "ministry", canonical(r.release(version, name)), r.T0)
            assert [found.spec.id for found, _ in tx.sandboxes(None, 2)] == ["a", "b"]
            assert [(found.spec.id, found.spec.version) for found, _ in tx.sandboxes("b", 2)] == [("c", 2)]

    @pytest.mark.parametrize(("organisation", "sandboxes", "seen"), [
        ("startup", (), ["pilot-0002", "pilot-0000"]),
        ("startup", ("roads",), ["pilot-0003", "pilot-0002", "pilot-0000"]),
        ("nobody", (), []),
        ("nobody", ("tiny", "roads"), ["pilot-0003", "pilot-0002", "pilot-0001", "pilot-0000"]),
        (None, ("tiny",), ["pilot-0002", "pilot-0001", "pilot-0000"]),
        (None, (), []),
        ("nobody", None, ["pilot-0003", "pilot-0002", "pilot-0001", "pilot-0000"]),
    ])  # fmt: skip
    def test_who_sees_which_pilots_newest_first(
        self, store: SqlStore, organisation: str | None, sandboxes: tuple[str, ...] | None, seen: list[str]
    ) -> None:
        with store.transaction() as tx:
            for n, (owner, sandbox) in enumerate([("startup", "tiny"), ("rival", "tiny"), ("startup", "tiny"), ("rival", "roads")]):
                tx.add_pilot(r.pilot(n, owner, sandbox))
            assert [p.id for p in tx.pilots(organisation=organisation, sandboxes=sandboxes, after=None, limit=10)] == seen

    def test_pages_of_pilots_neither_repeat_nor_miss_while_new_ones_come(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            for n in range(7):
                tx.add_pilot(r.pilot(n))
        after, found = None, []
        for round_ in range(5):
            with store.transaction() as tx:
                page = tx.pilots(organisation="startup", sandboxes=(), after=after, limit=3)
                tx.add_pilot(r.pilot(100 + round_))
            found += [p.id for p in page]
            after = found[-1]
        assert found == [f"pilot-{n:04}" for n in reversed(range(7))]

    def test_a_pilot_changes_from_the_state_that_was_seen(self, store: SqlStore) -> None:
        before = r.pilot()
        after = before.to(PilotState.PLAN_NEGOTIATION)
        with store.transaction() as tx:
            tx.add_pilot(before)
            tx.update_pilot(after, before)
            assert tx.pilot(before.id) == after
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.update_pilot(before.to(PilotState.ELIGIBLE), before)

    def test_a_plan_is_its_newest_version_and_keeps_every_signed_byte(self, store: SqlStore) -> None:
        of = r.pilot()
        (first, first_body), (second, second_body), (other, other_body) = r.plan(of), r.plan(of, version=2), r.plan(of, 1)
        with store.transaction() as tx:
            tx.add_pilot(of)
            tx.add_plan(first, first_body)
            tx.add_plan(second, second_body)
            tx.add_plan(other, other_body)
        with store.transaction(read_only=True) as tx:
            assert tx.plan(first.id) == second
            assert (tx.plan_body(first.digest), tx.plan_body(second.digest)) == (first_body, second_body)
            assert tx.plans(pilot=of.id, organisation="startup", sandboxes=(), after=None, limit=10) == (other, second)
            assert tx.plans(pilot=None, organisation="rival", sandboxes=(), after=None, limit=10) == ()
            assert tx.plans(pilot=None, organisation="startup", sandboxes=(), after=other.id, limit=10) == (second,)

    def test_a_plan_changes_from_what_was_seen(self, store: SqlStore) -> None:
        of = r.pilot()
        before, body = r.plan(of)
        after = before.to(PlanState.AGREED)
        with store.transaction() as tx:
            tx.add_pilot(of)
            tx.add_plan(before, body)
            tx.update_plan(after, before)
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.update_plan(before.to(PlanState.TERMINATED), before)
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_plan(before, body)
