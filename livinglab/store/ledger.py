"""Chains, the Merkle log and its checkpoints."""

import sqlalchemy as sa

from livinglab.domain.access import CheckpointRow, LedgerRow, TreeLeaf
from livinglab.domain.errors import Conflict
from livinglab.store import tables as t
from livinglab.store.base import Tables, moment, seconds


class LedgerTables(Tables):
    """See the port."""

    def ledger_head(self, chain: str) -> tuple[int, str] | None:
        if chain not in self.heads:
            row = self.row(t.chains, ("sequence", "head"), chain=chain)
            self.heads[chain] = (row.sequence, row.head) if row else None
        return self.heads[chain]

    def append_ledger(self, row: LedgerRow) -> None:
        new = {"sequence": row.sequence, "head": row.digest}
        if row.sequence == 0:
            self.insert_later(t.chains, chain=row.chain, **new)
        else:
            refusal = f"entry {row.sequence} is not the next one of chain {row.chain}."
            self.change_later(t.chains, {"chain": row.chain, "sequence": row.sequence - 1}, refusal, **new)
        self.insert_later(t.ledger, chain=row.chain, sequence=row.sequence, digest=row.digest, entry=row.entry, body=row.body)
        self.heads[row.chain] = (row.sequence, row.digest)

    def ledger(self, chain: str) -> tuple[LedgerRow, ...]:
        rows = self.connection.execute(sa.select(t.ledger).where(t.ledger.c.chain == chain).order_by(t.ledger.c.sequence))
        return tuple(LedgerRow(chain=r.chain, sequence=r.sequence, digest=r.digest, entry=bytes(r.entry), body=bytes(r.body)) for r in rows)

    def chains_changed(self) -> tuple[tuple[str, str], ...]:
        moved = sa.or_(t.chains.c.leaf_head.is_(None), t.chains.c.leaf_head != t.chains.c.head)
        rows = self.connection.execute(sa.select(t.chains.c.chain, t.chains.c.head).where(moved).order_by(t.chains.c.chain))
        return tuple((row.chain, row.head) for row in rows)

    def tree(self) -> tuple[TreeLeaf, ...]:
        leaves = sa.select(t.leaves.c.index.label("number"), t.leaves).order_by(t.leaves.c.index)
        rows = self.connection.execute(leaves)
        return tuple(TreeLeaf(index=r.number, chain=r.chain, head=r.head, salt=bytes(r.salt), leaf=bytes(r.leaf)) for r in rows)

    def add_leaf(self, leaf: TreeLeaf) -> None:
        newest = self.connection.execute(sa.select(sa.func.max(t.leaves.c.index))).scalar()
        if leaf.index != (0 if newest is None else newest + 1):
            msg = f"leaf {leaf.index} is not the next one of the log."
            raise Conflict(msg)
        self.insert(t.leaves, index=leaf.index, chain=leaf.chain, head=leaf.head, salt=leaf.salt, leaf=leaf.leaf)
        self.put(t.chains, {"chain": leaf.chain}, leaf_head=leaf.head)

    def add_checkpoint(self, row: CheckpointRow) -> None:
        root = self.scalar(t.checkpoints.c.root, size=row.size)
        if root is not None and bytes(root) != row.root:
            msg = f"a checkpoint over {row.size} leaves exists with another root."
            raise Conflict(msg)
        self.put(t.checkpoints, {"size": row.size}, root=row.root, envelope=row.envelope, at=seconds(row.at), frontier=row.frontier)

    def checkpoint(self) -> CheckpointRow | None:
        row = self.connection.execute(sa.select(t.checkpoints).order_by(t.checkpoints.c.size.desc()).limit(1)).first()
        if row is None:
            return None
        return CheckpointRow(
            size=row.size, root=bytes(row.root), envelope=bytes(row.envelope), at=moment(row.at), frontier=bytes(row.frontier or b"")
        )
