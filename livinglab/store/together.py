"""Writers of one process share transactions: whoever has waited goes on with the transaction of the one before, and one commit is for all of them.

Most of a short writer's turn is the way to the database's lock and its commit's way to the disk. Both are taken once for as many
as wait. Each one's part is undone by itself, and none is told that it is written before the commit of all is.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from livinglab.domain.errors import DatabaseAway

MOST = 12
"""Parts of one transaction. Other processes wait for all of them, and the first for the last: with more, few more are done, and waits are longer."""
Begin = Callable[[], tuple[sa.Connection, sa.RootTransaction]]


class _Shared:
    """A transaction, and how it ended for all who have a part in it."""

    def __init__(self, connection: sa.Connection, transaction: sa.RootTransaction) -> None:
        self.connection = connection
        self._transaction = transaction
        self._spoilt = False
        self.parts = 0
        self.ended = Future[None]()

    def begin_part(self) -> None:
        self.parts += 1
        if self.parts > 1:  # of the first, there is nothing else that would be undone with it
            self.connection.exec_driver_sql(f"SAVEPOINT part{self.parts}")

    def undo_part(self) -> None:
        """Where it can't be undone by itself, nothing of the transaction is committed."""
        self._spoilt = True
        if self.parts > 1:
            with suppress(sa.exc.SQLAlchemyError):
                self.connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT part{self.parts}")  # its own: one that was not set must not undo another's
                self._spoilt = False

    @property
    def takes_more(self) -> bool:
        return self.parts < MOST and not self._spoilt

    def end(self) -> None:
        """Commit, and tell all who have a part in it."""
        try:
            with self.connection:
                self._commit()
        except Exception as error:  # noqa: BLE001 # each of them raises it
            self.ended.set_exception(error)
        except BaseException:
            self.ended.set_exception(DatabaseAway("whoever was to commit was interrupted: it is not known whether it was written."))
            raise
        else:
            self.ended.set_result(None)

    def _commit(self) -> None:
        if self._spoilt:
            self._transaction.rollback()
            msg = "the database went away within a transaction; nothing of it was written."
            raise DatabaseAway(msg)
        self._transaction.commit()


class Writers:
    """The queue of a process's writers.

    Args:
        begin: begins a transaction that holds the database's lock for writers.
        patience: seconds that each waits for its turn.
    """

    def __init__(self, begin: Begin, patience: float) -> None:
        self._begin = begin
        self._patience = patience
        self._mutex = threading.Lock()
        self._busy = False
        self._waiting = deque[Future[_Shared | None]]()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def part(self) -> Iterator[sa.Connection]:
        """A part of a transaction: committed when this ends, or undone where it raises.

        Raises:
            Unreachable: the turn did not come in time; or another's part has spoilt the transaction for all.
        """
        shared = self._turn()
        try:
            shared.begin_part()
            yield shared.connection
        except BaseException:
            try:
                shared.undo_part()
            finally:
                self._leave(shared)
            raise
        self._leave(shared)
        shared.ended.result()

    def _turn(self) -> _Shared:
        """The transaction of the one before, or a new one."""
        with self._mutex:
            mine = Future[_Shared | None]() if self._busy else None
            if mine is None:
                self._busy = True
            else:
                self._waiting.append(mine)
        shared = self._wait(mine) if mine else None
        if shared is None:
            try:
                shared = _Shared(*self._begin())
            except BaseException:
                self._pass_on(None)
                raise
        return shared

    def _wait(self, turn: Future[_Shared | None]) -> _Shared | None:
        try:
            return turn.result(self._patience)
        except TimeoutError as error:
            if not turn.cancel():  # it came in the last moment
                return turn.result()
            msg = f"the database was busy with other writers for {self._patience:g} s."
            raise DatabaseAway(msg) from error
        except BaseException:
            if not turn.cancel():
                self._leave(turn.result())
            raise

    def _leave(self, shared: _Shared | None) -> None:
        """The next one goes on with it. Where there is none, or enough is in it, it is ended, and the next one begins its own."""
        if shared and shared.takes_more and self._pass_on(shared):
            return
        try:
            if shared:
                shared.end()
        finally:
            self._pass_on(None)

    def _pass_on(self, shared: _Shared | None) -> bool:
        """Is there a next one?"""
        with self._mutex:
            while self._waiting:
                turn = self._waiting.popleft()
                if turn.set_running_or_notify_cancel():  # it has not given up
                    turn.set_result(shared)
                    return True
            if shared is None:
                self._busy = False
            return False
