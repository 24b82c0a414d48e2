"""What must hold where writers of one process share a transaction."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from livinglab.domain.errors import Conflict, DatabaseAway
from livinglab.ports import Tx
from livinglab.store.sql import SqlStore, open_store
from livinglab.store.together import MOST
from tests.contract import store_records as r
from tests.contract.store_suite import Somewhere, WithStore
from tests.waiting import until

Work = Callable[[Tx], object]
Outcome = list[str] | type[BaseException]


def put(name: str) -> Work:
    """An event of that name, and an entry."""

    def work(tx: Tx) -> None:
        tx.emit(r.event(name))
        r.append(tx, "chain", name)

    return work


def names(store: SqlStore) -> list[str]:
    with store.transaction(read_only=True) as tx:
        events, entries = [event.kind for event in tx.events(0, 99)], [row.body.decode() for row in tx.ledger("chain")]
    assert events == entries
    return events


def write(store: SqlStore, work: Work) -> list[str]:
    """What is there once it is told that it was written."""
    with store.transaction() as tx:
        work(tx)
    return names(store)


def queue(pool: ThreadPoolExecutor, store: SqlStore, *works: Work) -> list[Future[list[str]]]:
    """Writers, each behind the one before, while somebody else writes."""
    queued = []
    for work in works:
        before = store._writers.waiting
        queued.append(pool.submit(write, store, work))
        until(lambda: store._writers.waiting == before + 1, pause=0.01)  # noqa: B023 # it is called before the next
    return queued


def outcome(of: Future[list[str]]) -> Outcome:
    """What was there afterwards, or as what it failed."""
    error = of.exception(120)
    return type(error) if error else of.result()


def share(store: SqlStore, *works: Work) -> list[Outcome]:
    """How each ended: the others come while the first one writes."""
    others: list[Future[list[str]]] = []
    with ThreadPoolExecutor(len(works)) as pool:

        def first(tx: Tx) -> None:
            others.extend(queue(pool, store, *works[1:]))
            works[0](tx)

        return [outcome(pool.submit(write, store, first)), *(outcome(other) for other in others)]


class StoreTogether(WithStore):
    """One commit for many, and each one's part undone by itself."""

    @pytest.fixture
    def impatient(self, somewhere: Somewhere) -> Iterator[SqlStore]:
        store = open_store(somewhere.url, patience=1)
        yield store
        store.close()

    @pytest.fixture
    def commits(self, store: SqlStore) -> list[sa.Connection]:
        """Grows by each commit of something written."""
        commits: list[sa.Connection] = []
        sa.event.listen(store.engine, "commit", lambda c: None if c.get_execution_options()["read_only"] else commits.append(c))
        return commits

    def test_one_commit_is_for_all_who_waited_and_none_is_told_before(self, store: SqlStore, commits: list[sa.Connection]) -> None:
        def last(tx: Tx) -> None:
            put("d")(tx)
            assert tx.last_event()
            assert names(store) == []

        assert share(store, put("a"), put("b"), put("c"), last) == [["a", "b", "c", "d"]] * 4
        assert len(commits) == 1

    def test_there_is_an_end_to_sharing(self, store: SqlStore, commits: list[sa.Connection]) -> None:
        many = [f"e{n:02}" for n in range(MOST + 1)]
        told = share(store, *map(put, many))
        assert all(each in (many[:-1], many) for each in told)
        assert told[-1] == many
        assert len(commits) == 2

    @pytest.mark.parametrize("fault", [ArithmeticError, Conflict])
    @pytest.mark.parametrize("put_off", [True, False])
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_what_fails_is_undone_by_itself(self, store: SqlStore, place: int, fault: type[Exception], *, put_off: bool) -> None:
        with store.transaction() as tx:
            tx.add_pilot(r.pilot())
            tx.remember("startup", "runs", "a key", "sha256:1", "run-1")

        def fail(tx: Tx) -> None:
            put("lost")(tx)
            if not put_off:
                assert tx.last_event()  # it is written by now
            if fault is ArithmeticError:
                raise fault
            if put_off:
                tx.remember("startup", "runs", "a key", "sha256:2", "run-2")
            else:
                tx.add_pilot(r.pilot())

        works, kept = [put("a"), put("b"), put("c")], ["a", "b", "c"]
        works[place] = fail
        del kept[place]
        expected: list[Outcome] = [kept] * 3
        expected[place] = fault
        assert share(store, *works) == expected
        assert write(store, put("e")) == [*kept, "e"]

    def test_a_part_that_could_not_begin_undoes_no_other_one_unseen(self, store: SqlStore) -> None:
        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement == "SAVEPOINT part3":
                raise ArithmeticError

        assert share(store, put("a"), put("b"), put("c")) == [DatabaseAway, DatabaseAway, ArithmeticError]
        assert names(store) == []

    def test_whoever_has_given_up_waiting_is_passed_over(self, impatient: SqlStore) -> None:
        with ThreadPoolExecutor(3) as pool:
            with impatient.transaction() as tx:
                given_up = pool.submit(write, impatient, put("lost"))
                until(lambda: (tx.last_event(), given_up.done())[1])  # a server would end a transaction in which nothing is asked
                assert outcome(given_up) is DatabaseAway
                told = queue(pool, impatient, put("a"), put("b"))
            assert [outcome(each) for each in told] == [["a", "b"]] * 2

    def test_a_lock_that_is_not_had_stops_none_of_those_behind(self, store: SqlStore, impatient: SqlStore) -> None:
        with ThreadPoolExecutor(3) as pool, store.transaction() as tx:
            tx.last_event()
            waiting = [pool.submit(write, impatient, put(name)) for name in "abc"]
            assert [outcome(each) for each in waiting] == [DatabaseAway] * 3
        assert write(impatient, put("d")) == ["d"]
