"""One transaction, as the `Tx` port has it. Each noun's methods stand in a class of their own."""

from livinglab.store.content import ContentTables
from livinglab.store.ledger import LedgerTables
from livinglab.store.people import PeopleTables
from livinglab.store.records import RecordTables
from livinglab.store.runs import RunTables


class SqlTx(PeopleTables, ContentTables, RunTables, RecordTables, LedgerTables):
    """Everything on one connection, in one transaction."""
