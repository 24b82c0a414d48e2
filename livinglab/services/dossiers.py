"""Dossiers: all the evidence of one plan, bundled for a stranger."""

from dataclasses import dataclass
from pathlib import Path

from livinglab.domain.access import Caller, Document, LedgerRow
from livinglab.domain.disclosure import is_sealed, may_read
from livinglab.domain.errors import Conflict
from livinglab.evidence import merkle
from livinglab.evidence.dossier import REQUIRED, DossierContents, write_dossier
from livinglab.evidence.ledger import Entry
from livinglab.ports import Artifacts, Store, Tx
from livinglab.services import documents as required_documents
from livinglab.services.plans import visible_plan


@dataclass(frozen=True)
class Dossiers:
    """Reading the chain, and writing it out."""

    store: Store
    artifacts: Artifacts

    def ledger(self, caller: Caller, plan_id: str) -> tuple[LedgerRow, ...]:
        """The entries of a plan's chain, bytes and all."""
        with self.store.transaction(read_only=True) as tx:
            return tx.ledger(visible_plan(tx, caller, plan_id).id)

    def write(self, caller: Caller, plan_id: str, path: Path) -> str:
        """Write the plan's dossier as this caller may see it; return its digest. What is kept from the caller is listed as withheld.

        Raises:
            Conflict: the chain has moved since the last signed checkpoint (a run is under way); wait for its end.
        """
        with self.store.transaction(read_only=True) as tx:
            plan = visible_plan(tx, caller, plan_id)
            release = tx.release(plan.body.release)
            body, document = tx.plan_body(plan.digest), tx.release_document(plan.body.release)
            assert release and body and document  # noqa: S101, PT018 - stored with the plan
            rows, tree, checkpoint = tx.ledger(plan.id), tx.tree(), tx.checkpoint()
            leaf = next((leaf for leaf in reversed(tree) if rows and leaf.chain == plan.id and leaf.head == rows[-1].digest), None)
            if checkpoint is None or leaf is None or leaf.index >= checkpoint.size:
                msg = f"the evidence of plan {plan.id} is not sealed: its chain has moved since the last checkpoint."
                raise Conflict(msg, hint="It is sealed at the end of a run.")
            documents = self._documents(tx, plan.id)
            keys = {s.key_id: key.pem.encode() for s in plan.signatures if (key := tx.key(s.key_id))}
        sealed = {d: may_read(release.spec.disclosure, caller, release.spec.id, d.name) for d in documents if is_sealed(d.name)}
        # By the plan's digests, not by what is attached now: after an amended plan that may be something else.
        required = {document.file: document.digest for document in plan.body.documents}
        may_read_required = required_documents.may_read(caller, plan.body.participant, plan.body.sandbox)
        contents = DossierContents(
            plan=body, release=document, ledger=[Entry(data=r.entry, digest=r.digest, body=r.body) for r in rows],
            documents={_name(d): self.artifacts.read(d.digest) for d, open_ in sealed.items() if open_},
            required={file: self.artifacts.read(digest) for file, digest in required.items() if may_read_required},
            withheld={_name(d): d.digest for d, open_ in sealed.items() if not open_}
            | {f"{REQUIRED}{file}": digest for file, digest in required.items() if not may_read_required},
            checkpoint=checkpoint.envelope, leaf_index=leaf.index, leaf_salt=leaf.salt,
            proof=merkle.inclusion_proof([item.leaf for item in tree[: checkpoint.size]], leaf.index), public_keys=keys)  # fmt: skip
        return write_dossier(path, contents)

    def _documents(self, tx: Tx, plan: str) -> list[Document]:
        return [document for run in tx.runs_under(plan) for attempt in tx.attempts(run.id) for document in tx.documents(attempt.id)]


def _name(document: Document) -> str:
    return f"{document.subject}/{document.name}"
