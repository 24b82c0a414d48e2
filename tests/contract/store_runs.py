"""What every database behind the `Store` port must do with runs, and with what they leave: journal, events, logs, ledger."""

import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from livinglab.domain.access import CheckpointRow, Document, LedgerRow, TreeLeaf
from livinglab.domain.errors import Conflict, StaleEpoch
from livinglab.domain.run import Attempt, RunState, Step
from livinglab.ports import Tx
from livinglab.store.sql import SqlStore
from tests.contract import store_records as r
from tests.contract.store_suite import WithStore

Write = Callable[[Tx, int], None]


class StoreRunsSuite(WithStore):
    """One class, so that a database's module takes it on in a line."""

    # --- runs and attempts ---

    def test_runs(self, store: SqlStore) -> None:
        of = r.pilot()
        runs = [r.run(of, n) for n in range(3)]
        with store.transaction() as tx:
            tx.add_pilot(of)
            for queued in reversed(runs):
                tx.add_run(queued, r.attempt(queued))
            tx.update_run(runs[0].to(RunState.RUNNING), runs[0])
        with store.transaction(read_only=True) as tx:
            assert [x.id for x in tx.runs_under("plan-0000")] == ["run-0000", "run-0001", "run-0002"]
            assert [x.id for x in tx.runs(plan="plan-0000", organisation="startup", sandboxes=(), after="run-0002", limit=1)] == ["run-0001"]
            assert tx.runs(plan="plan-0000", organisation="rival", sandboxes=(), after=None, limit=9) == ()
            assert [tx.runs_before("startup", "tiny", x.created_at) for x in runs] == [0, 1, 2]
            assert tx.runs_before("rival", "tiny", r.at(99)) == 0
            assert tx.queue("docker", 9) == (runs[1], runs[2])
            assert tx.queue("slurm", 9) == ()
            assert tx.run("run-0000") == runs[0].to(RunState.RUNNING)

    def test_how_it_stands_with_a_plan_is_one_question(self, store: SqlStore) -> None:
        """As its parts are asked one by one; what is not there is None."""
        of = r.pilot()
        runs = [r.run(of, n) for n in range(4)]
        over = runs[1].model_copy(update={"counts": True, "core_seconds": 12.5, "state": RunState.COMPLETED})
        with store.transaction() as tx:
            tx.add_pilot(of)
            for queued in runs:
                tx.add_run(queued, r.attempt(queued))
            tx.update_run(over, runs[1])
        with store.transaction(read_only=True) as tx:
            standing = tx.standing("plan-0000", of.id, "docker", without="run-0000")
            assert standing.spent == tx.spent("plan-0000", without="run-0000")
            assert (standing.spent.runs, standing.spent.counted, standing.spent.under_way, standing.spent.at_stake) == (3, 1, 2, 3)
            assert standing.spent.core_seconds == 12.5
            assert (standing.pilot, standing.site) == (of.state, tx.site("docker"))
            assert standing.site is not None
            nothing = tx.standing("plan-9999", "plt-9999", "nowhere")
            assert (nothing.spent.runs, nothing.spent.core_seconds, nothing.pilot, nothing.site) == (0, 0, None, None)

    def test_constraints_stand_behind_the_services(self, store: SqlStore) -> None:
        of = r.pilot()
        first = r.run(of)
        with store.transaction() as tx:
            tx.add_pilot(of)
            tx.add_run(first, r.attempt(first))
        stranger = r.run(r.pilot(9), 1)
        for wrong in (r.run(of, 1, ordinal=1), first, stranger, first.model_copy(update={"id": "run-0002", "ordinal": 0})):
            with pytest.raises(Conflict), store.transaction() as tx:
                tx.add_run(wrong, r.attempt(wrong))
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_attempt(r.attempt(first))
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.add_attempt(r.attempt(stranger))
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.append_log("run-9999.1", "pilot", 0, b"of no attempt")
        nonsense = r.attempt(first).model_copy(update={"state": "nonsense"})
        with pytest.raises(Conflict), pytest.warns(UserWarning, match="serialized value"), store.transaction() as tx:
            tx.update_attempt(nonsense, 0)

    def test_a_run_changes_from_the_state_that_was_seen(self, store: SqlStore) -> None:
        r.with_attempts(store)
        with store.transaction() as tx:
            before = tx.run("run-0000")
            assert before is not None
            tx.update_run(before.to(RunState.CANCELLING), before)
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.update_run(before.to(RunState.RUNNING), before)

    def test_a_writer_of_an_older_epoch_is_refused_everywhere(self, store: SqlStore) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            (first,) = tx.claim("docker", "a", r.at(0), timedelta(seconds=30), lambda _: False)
            (second,) = tx.claim("docker", "b", r.at(30), timedelta(seconds=30), lambda _: False)
        assert (first.id, first.epoch, second.id, second.epoch) == (made.id, 1, made.id, 2)
        writes: list[Write] = [
            lambda tx, epoch: tx.update_attempt(second.model_copy(update={"step": Step.ADMIT}), epoch),
            lambda tx, epoch: tx.write_journal(r.entry(made), epoch),
        ]
        for number, write in enumerate(writes):
            with pytest.raises(StaleEpoch), store.transaction() as tx:
                write(tx, first.epoch)
            with store.transaction() as tx:
                write(tx, second.epoch)
            with store.transaction(read_only=True) as tx:
                assert len(tx.journal(made.id)) == number
        with store.transaction(read_only=True) as tx:
            assert tx.attempt(made.id) == second.model_copy(update={"step": Step.ADMIT})

    def test_leases_are_renewed_together_and_those_that_were_taken_over_are_told(self, store: SqlStore) -> None:
        r.with_attempts(store, 1201)
        with store.transaction() as tx:
            mine = tx.claim("docker", "a", r.at(0), timedelta(seconds=30), lambda _: False, 1200)
            taken_over = tx.claim("docker", "b", r.at(30), timedelta(seconds=30), lambda _: False, 7)
            assert [two.id for two in taken_over] == [one.id for one in mine[:7]]
            assert tx.renew({one.id: one.epoch for one in mine}, r.at(90)) == {two.id for two in taken_over}
            assert tx.renew({two.id: two.epoch for two in taken_over} | {"no-such.1": 1}, r.at(70)) == {"no-such.1"}
        with store.transaction(read_only=True) as tx:
            for one, until in [(mine[0], 70), (mine[6], 70), (mine[7], 90), (mine[-1], 90)]:
                assert (found := tx.attempt(one.id))
                assert found.lease_until == r.at(until)
                assert tx.attempts(one.run) == (found,)

    @pytest.mark.parametrize(("change", "now", "dead", "free"), [
        ({}, 0, False, True),
        ({"owner": "a", "lease_until": r.at(30)}, 29.999999, False, False),
        ({"owner": "a", "lease_until": r.at(30)}, 30, False, True),
        ({"owner": "a", "lease_until": r.at(30)}, 0, True, True),
        ({"owner": "a"}, 1e9, False, False),
        ({"owner": "a"}, 0, True, True),
        ({"state": RunState.COMPLETED}, 1e9, True, False),
        ({"state": RunState.FAILED, "owner": "a", "lease_until": r.at(30)}, 1e9, True, False),
        ({"state": RunState.CANCELLING}, 0, False, True),
    ])  # fmt: skip
    def test_which_attempt_is_free(self, store: SqlStore, change: dict[str, object], now: float, dead: bool, free: bool) -> None:
        (made,) = r.with_attempts(store)
        with store.transaction() as tx:
            tx.update_attempt(made.model_copy(update=change), 0)
            assert tx.claim("slurm", "b", r.at(now), timedelta(seconds=30), lambda _: dead) == ()
            taken = tx.claim("docker", "b", r.at(now), timedelta(seconds=30), lambda _: dead)
            expected = made.model_copy(update={**change, "owner": "b", "epoch": 1, "lease_until": r.at(now) + timedelta(seconds=30)})
            assert taken == ((expected,) if free else ())
            assert tx.attempt(made.id) == (expected if free else made.model_copy(update=change))

    def test_claiming_takes_the_oldest_and_asks_of_each_owner_once(self, store: SqlStore) -> None:
        made = r.with_attempts(store, 6)
        asked: list[str] = []

        def dead(owner: str) -> bool:
            asked.append(owner)
            return owner == "gone"

        for index, owner in {0: "alive", 1: "alive", 2: "gone", 4: "gone"}.items():
            with store.transaction() as tx:
                tx.update_attempt(made[index].model_copy(update={"owner": owner, "lease_until": r.at(1e6)}), 0)
        with store.transaction() as tx:
            first = tx.claim("docker", "new", r.T0, timedelta(seconds=30), dead, 2)
        assert sorted(asked) == ["alive", "gone"]
        with store.transaction() as tx:
            rest = tx.claim("docker", "new", r.T0, timedelta(seconds=30), dead, 9)
        assert [[a.id for a in claimed] for claimed in (first, rest)] == [[made[2].id, made[3].id], [made[4].id, made[5].id]]

    def queue_of(self, store: SqlStore, organisations: str, **more: dict[int, object]) -> list[str]:
        """A queued run for each letter, the first the oldest, of the organisation of that letter; their ids."""
        with store.transaction() as tx:
            for letter in sorted(set(organisations)):
                tx.add_pilot(r.pilot(ord(letter), organisation=f"org-{letter}"))
            for n, letter in enumerate(organisations):
                change = {name: values[n] for name, values in more.items() if n in values}
                run = r.run(r.pilot(ord(letter), organisation=f"org-{letter}"), n, plan_id=f"plan-{letter}").model_copy(update=change)
                tx.add_run(run, r.attempt(run))
        return [f"run-{n:04}" for n in range(len(organisations))]

    def claimed(self, store: SqlStore, count: int) -> list[int]:
        """The numbers of the runs that are claimed next, one after the other."""
        found = []
        for n in range(count):
            with store.transaction() as tx:
                found += [int(a.run[-4:]) for a in tx.claim("docker", f"worker-{n}", r.at(100), timedelta(days=1), lambda _: False)]
        return found

    def test_organisations_take_turns_however_many_runs_each_has_asked_for(self, store: SqlStore) -> None:
        ids = self.queue_of(store, "aaaaaabbc")
        with store.transaction(read_only=True) as tx:
            queued = tx.queue("docker", 9)
            assert [run.id for run in queued] == [ids[n] for n in (0, 6, 8, 1, 7, 2, 3, 4, 5)]
            assert [tx.ahead(run) for run in queued] == list(range(9))
            assert [run.id for run in tx.queue("docker", 2)] == [ids[0], ids[6]]
        assert self.claimed(store, 10) == [0, 6, 8, 1, 7, 2, 3, 4, 5]

    def test_who_has_much_under_way_waits_for_who_has_little(self, store: SqlStore) -> None:
        self.queue_of(store, "aaaab")
        assert self.claimed(store, 3) == [0, 4, 1]
        with store.transaction() as tx:  # b asks for two more, later than a did
            for n in (5, 6):
                run = r.run(r.pilot(ord("b"), organisation="org-b"), n, plan_id="plan-b")
                tx.add_run(run, r.attempt(run))
        assert self.claimed(store, 4) == [5, 2, 6, 3]

    def test_a_priority_goes_before_shares_and_what_is_held_takes_nobodys(self, store: SqlStore) -> None:
        ids = self.queue_of(store, "aaab", priority={2: 5}, held_by={0: "somebody"})
        with store.transaction(read_only=True) as tx:
            run = tx.run(ids[1])
            assert run
            assert tx.ahead(run) == 2  # the one with the priority, and the other organisation's; not the one that is held
        assert self.claimed(store, 4) == [2, 3, 1]

    def test_what_was_begun_goes_on_before_anything_else_begins(self, store: SqlStore) -> None:
        self.queue_of(store, "aab", priority={2: 50})
        with store.transaction() as tx:
            (first,) = (a for a in tx.attempts("run-0000"))
            tx.update_attempt(first.model_copy(update={"state": RunState.RUNNING}), 0)
        assert self.claimed(store, 3) == [0, 2, 1]

    @pytest.mark.parametrize("seed", range(4))
    def test_turns_are_those_of_a_plain_model(self, store: SqlStore, seed: int) -> None:
        """The next one is, of those of the highest priority, of the organisation that has the least under way with it; then the oldest."""
        chance = random.Random(seed)
        letters = "".join(chance.choice("abcd") for _ in range(24))
        priorities = {n: chance.choice((0, 0, 0, 1)) for n in range(24)}
        self.queue_of(store, letters, priority=dict(priorities))
        under_way, left, expected = dict.fromkeys("abcd", 0), list(range(24)), []
        while left:
            rank = dict.fromkeys("abcd", 0)
            shares: dict[int, int] = {}
            for n in sorted(left, key=lambda n: (-priorities[n], n)):
                rank[letters[n]] += 1
                shares[n] = under_way[letters[n]] + rank[letters[n]]
            best = min(left, key=lambda n: (-priorities[n], shares[n], n))
            expected.append(best)
            left.remove(best)
            under_way[letters[best]] += 1
        assert self.claimed(store, 24) == expected

    def test_attempts_of_a_run(self, store: SqlStore) -> None:
        (first,) = r.with_attempts(store)
        second = first.model_copy(update={"number": 2})
        with store.transaction() as tx:
            tx.add_attempt(second)
            assert tx.attempts("run-0000") == (first, second)
            assert tx.attempt(second.id) == second

    # --- journal ---

    @pytest.fixture
    def held(self, store: SqlStore) -> Attempt:
        (made,) = r.with_attempts(store)
        return made

    def test_the_journal_goes_from_intent_to_done_and_stays(self, store: SqlStore, held: Attempt) -> None:
        with store.transaction() as tx:
            for step in (Step.STAGE, Step.ADMIT):  # told in the order of the steps, however they came
                tx.write_journal(r.entry(held, step), 0)
                tx.write_journal(r.entry(held, step, handle="h"), 0)
            done = r.entry(held, Step.ADMIT, "done", n=1, pair=(1, 2))
            tx.write_journal(done, 0)
            tx.write_journal(done, 0)
        for other in (r.entry(held, Step.ADMIT, "done", n=2), r.entry(held, Step.ADMIT)):
            with pytest.raises(Conflict), store.transaction() as tx:
                tx.write_journal(other, 0)
        with store.transaction(read_only=True) as tx:
            journal = tx.journal(held.id)
        assert [(step, e.status, e.data) for step, e in journal.items()] == [
            (Step.ADMIT, "done", {"n": 1, "pair": [1, 2]}), (Step.STAGE, "intent", {"handle": "h"})]  # fmt: skip

    # --- events, cursors, documents, logs ---

    def test_runs_are_counted_by_site_and_state(self, store: SqlStore) -> None:
        with store.transaction(read_only=True) as tx:
            assert tx.run_counts() == ()
        r.with_attempts(store, 3)
        with store.transaction() as tx:
            oldest = min((run for n in range(3) if (run := tx.run(f"run-000{n}"))), key=lambda run: run.created_at)
            newest = tx.run("run-0002")
            assert newest
            tx.update_run(newest.to(RunState.RUNNING), newest)
            counts = tx.run_counts()
        assert [(count.site, count.state, count.runs) for count in counts] == [("docker", RunState.QUEUED, 2), ("docker", RunState.RUNNING, 1)]
        assert counts[0].oldest == oldest.created_at

    def test_events_in_order_and_by_who_may_see_them(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            ids = []
            for event in (
                r.event("a", run="run-1", data={"n": 1.5, "deep": {"x": [1, None]}}),
                r.event("b", "rival"),
                r.event("c", "rival", "roads"),
            ):
                tx.emit(event)
                ids.append(tx.last_event())
        with store.transaction(read_only=True) as tx:
            events = tx.events(0, 10)
            assert [e.id for e in events] == ids == sorted(set(ids))
            assert events[0] == r.event("a", run="run-1", data={"n": 1.5, "deep": {"x": [1, None]}}, id=ids[0])
            assert [e.kind for e in tx.events(ids[0], 1)] == ["b"]
            assert [e.kind for e in tx.events(0, 9, run="run-1")] == ["a"]
            assert [e.kind for e in tx.events(0, 9, organisation="rival", sandboxes=())] == ["b", "c"]
            assert [e.kind for e in tx.events(0, 9, organisation="startup", sandboxes=("roads",))] == ["a", "c"]
            assert tx.events(10**30, 9) == ()

    def test_the_id_of_an_event_is_never_given_twice(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            tx.emit(r.event())
            first = tx.last_event()
        with store.engine.begin() as connection:  # as a person might who prunes what everybody has read
            connection.exec_driver_sql("DELETE FROM events")
        with store.transaction() as tx:
            tx.emit(r.event())
            assert tx.last_event() > first

    def test_cursors(self, store: SqlStore) -> None:
        with store.transaction() as tx:
            assert tx.cursor("mlflow") == 0
            tx.move_cursor("mlflow", 7)
            tx.move_cursor("mlflow", 1 << 40)
            assert (tx.cursor("mlflow"), tx.cursor("prefect")) == (1 << 40, 0)

    def test_a_cursor_has_one_holder(self, store: SqlStore) -> None:
        minute = timedelta(minutes=1)

        def hold(owner: str, at: int, dead: str = "nobody") -> bool:
            with store.transaction() as tx:
                return tx.hold_cursor("mlflow", owner, r.at(at), minute, lambda holder: holder == dead)

        with store.transaction() as tx:
            tx.move_cursor("mlflow", 7)
        assert hold("a", 0)
        assert (hold("b", 1), hold("a", 30), hold("b", 61)) == (False, True, False), "the lease was renewed at 30"
        assert (hold("b", 91), hold("a", 92)) == (True, False)
        assert hold("a", 93, dead="b")
        with store.transaction() as tx:
            assert tx.cursor("mlflow") == 7

    def test_documents(self, store: SqlStore) -> None:
        def document(subject: str, name: str, of: object) -> Document:
            return Document(subject=subject, name=name, media_type="text/plain", digest=r.digest(of), size=5 << 40)

        with store.transaction() as tx:
            for subject, name in (("a", "two"), ("a", "one"), ("b", "one"), ("a", "one")):
                tx.add_document(document(subject, name, 1))
            assert tx.documents("a") == (document("a", "one", 1), document("a", "two", 1))
        with pytest.raises(Conflict, match="one of a"), store.transaction() as tx:
            tx.add_document(document("a", "one", 2))

    def test_a_document_that_is_put_is_in_place_of_the_one_before(self, store: SqlStore) -> None:
        def document(subject: str, of: object) -> Document:
            return Document(subject=subject, name="case", media_type="text/plain", digest=r.digest(of), size=1)

        with store.transaction() as tx:
            for subject, of in (("a", 1), ("b", 1), ("a", 2), ("a", 2)):
                tx.put_document(document(subject, of))
        with store.transaction(read_only=True) as tx:
            assert (tx.documents("a"), tx.documents("b")) == ((document("a", 2),), (document("b", 1),))

    @pytest.mark.parametrize("seed", range(8))
    def test_a_log_is_whole_however_its_pieces_overlap(self, store: SqlStore, held: Attempt, seed: int) -> None:
        rng = random.Random(seed)
        whole = rng.randbytes(400)
        size = 0
        with store.transaction() as tx:
            while size < len(whole):
                start = rng.randint(0, size)
                end = min(len(whole), start + rng.randint(1, 60))
                tx.append_log(held.id, "pilot", start, whole[start:end])
                size = max(size, end)
                assert tx.log_size(held.id, "pilot") == size
        with store.transaction(read_only=True) as tx:
            for _ in range(40):
                offset, limit = rng.randint(0, 420), rng.randint(0, 420)
                assert tx.read_log(held.id, "pilot", offset, limit) == whole[offset : offset + limit]
            assert tx.read_log(held.id, "pilot", 10**30, 5) == b""
            assert tx.read_log(held.id, "measure", 0, 5) == b""

    def test_what_was_said_first_stays_in_a_log_and_no_gap_is_made(self, store: SqlStore, held: Attempt) -> None:
        with store.transaction() as tx:
            tx.append_log(held.id, "pilot", 0, b"first")
            tx.append_log(held.id, "pilot", 0, b"other")
            tx.append_log(held.id, "pilot", 100, b"after a gap")
            tx.append_log(held.id, "pilot", 3, b"stand more")
            assert tx.read_log(held.id, "pilot", 0, 99) == b"firstand more"

    # --- ledger ---

    def test_a_chain_is_gapless_and_kept_byte_for_byte(self, store: SqlStore) -> None:
        body = bytes(range(256))
        with store.transaction() as tx:
            rows = [r.append(tx, "plan-1", str(n)) for n in range(3)]
            tx.append_ledger(LedgerRow(chain="plan-2", sequence=0, digest=r.digest("x"), entry=body, body=body))
        with store.transaction(read_only=True) as tx:
            assert tx.ledger("plan-1") == tuple(rows)
            assert tx.ledger_head("plan-1") == (2, rows[2].digest)
            assert tx.ledger("plan-2")[0].entry == body
            assert (tx.ledger("none"), tx.ledger_head("none")) == ((), None)

    @pytest.mark.parametrize("sequence", [-1, 0, 1, 3])
    def test_only_the_next_entry_of_a_chain_is_taken(self, store: SqlStore, sequence: int) -> None:
        with store.transaction() as tx:
            r.append(tx, "c", "0")
            r.append(tx, "c", "1")
        row = LedgerRow(chain="c", sequence=sequence, digest=r.digest("new"), entry=b"{}", body=b"")
        with pytest.raises(Conflict), store.transaction() as tx:
            tx.append_ledger(row)
        with pytest.raises(Conflict), store.transaction() as tx:  # nor does a digest appear twice
            tx.append_ledger(tx.ledger("c")[0].model_copy(update={"chain": "d"}))

    def test_the_log_of_heads_knows_what_moved(self, store: SqlStore) -> None:
        def leaf(index: int, chain: str, head: str) -> TreeLeaf:
            return TreeLeaf(index=index, chain=chain, head=head, salt=b"s" * 32, leaf=bytes([index]) * 32)

        with store.transaction() as tx:
            heads = {chain: r.append(tx, chain, chain).digest for chain in ("a", "b")}
            assert tx.chains_changed() == (("a", heads["a"]), ("b", heads["b"]))
            leaves = [leaf(0, "a", heads["a"]), leaf(1, "b", heads["b"])]
            for each in leaves:
                tx.add_leaf(each)
            assert tx.chains_changed() == ()
            moved = r.append(tx, "b", "again")
            assert tx.chains_changed() == (("b", moved.digest),)
            assert tx.tree() == tuple(leaves)
        for wrong in (leaf(1, "b", moved.digest), leaf(3, "b", moved.digest), leaf(2, "unknown", moved.digest)):
            with pytest.raises(Conflict), store.transaction() as tx:
                tx.add_leaf(wrong)

    def test_the_newest_checkpoint(self, store: SqlStore) -> None:
        def checkpoint(size: int, root: bytes = b"r" * 32) -> CheckpointRow:
            return CheckpointRow(size=size, root=root, frontier=b"f" * 64, envelope=f"{size}".encode(), at=r.at(size))

        with store.transaction() as tx:
            assert tx.checkpoint() is None
            for size in (2, 10, 10):
                tx.add_checkpoint(checkpoint(size))
            assert tx.checkpoint() == checkpoint(10)
        with pytest.raises(Conflict, match="another root"), store.transaction() as tx:
            tx.add_checkpoint(checkpoint(10, b"x" * 32))
